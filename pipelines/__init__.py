"""Stages wired together on an engine: configuration, the run directory, the engines and the command line."""
