"""What runs hardneg elsewhere: images, jobs, orchestrators, and small stand-ins for them on one machine."""
