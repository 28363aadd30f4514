"""What runs any pipeline: stages, units that are committed, engines, storage, progress and status."""
