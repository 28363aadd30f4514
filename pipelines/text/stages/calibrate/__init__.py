"""The stages of a calibration: known positives are hidden, and a model learns what they look like."""
