"""Detections: what a detector found in images, beside what is there; which of both are hard."""
