"""The storage of a run: folders at any URI, the run directory, its lease, and local copies of remote files."""
