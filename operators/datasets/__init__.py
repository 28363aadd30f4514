"""Operators over training data: formats and the dataset card."""
