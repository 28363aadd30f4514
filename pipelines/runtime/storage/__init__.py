"""Where a run lies: folders at any URI, the run directory, who holds it, and copies of what lies far away."""
