"""What makes a sample hard: one strategy in each module, which is its name."""
