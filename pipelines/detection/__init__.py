"""The pipeline over detections: its configuration, how its stages are put together, and the stages."""

from collections.abc import Mapping

# The groups of its stages, in order, and what their commands do.
COMMANDS: Mapping[str, str] = {
    "prepare": "Read the boxes of both sides, and bring those of each image together.",
    "match": "Of a detector: match predictions with objects, and measure precision and recall, after preparing.",
    "select": "Choose the hard samples.",
    "export": "Write the hard samples and the weights.",
}
