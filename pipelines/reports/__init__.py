"""What a run reports about itself: facts of its stages, warnings, and a page."""
