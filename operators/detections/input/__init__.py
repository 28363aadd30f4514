"""Read detections: COCO JSON, YOLO text files, Parquet."""
