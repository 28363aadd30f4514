"""The stages of the pipeline over detections."""
