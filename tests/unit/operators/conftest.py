"""Hypothesis draws the same examples everywhere, and a busy machine fails no test."""

from hypothesis import settings

settings.register_profile("same everywhere", derandomize=True, deadline=None)
settings.load_profile("same everywhere")
