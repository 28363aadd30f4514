"""What these tests share."""

from tests.unit.operators.detections.drawn import coco

__all__ = ["coco"]
