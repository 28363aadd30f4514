"""Generated images with objects and predictions, written as COCO, as YOLO and as Parquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.detections.boxes import Predictions, Truths

SIZE = 256  # a power of two: shares of it are exact
NAMES = ["cat", "dog", "bird"]
IMAGES = 40


def boxes(seed: int = 5) -> tuple[Predictions, Truths]:
    """Objects on a grid, without crowds, which YOLO has none of; half of the predictions are shifted objects."""
    rng = np.random.default_rng(seed)
    objects, count = 250, 400
    image, class_id = rng.integers(0, IMAGES, objects), rng.integers(0, len(NAMES), objects)
    box = np.concatenate([rng.integers(0, 40, (objects, 2)), rng.integers(3, 12, (objects, 2))], 1) * 4.0
    of = rng.integers(0, objects, count)
    near, shift = box[of] + rng.integers(-1, 2, (count, 4)) * 4.0, rng.random(count) < 0.5
    near[~shift, :2] = rng.integers(0, 40, ((~shift).sum(), 2)) * 4.0
    named = np.where(rng.random(count) < 0.8, class_id[of], rng.integers(0, len(NAMES), count))
    confidence = rng.integers(0, 21, count) / 20
    return Predictions(image[of], named, near, confidence), Truths.of(image, class_id, box)


def write_coco(folder: Path, predictions: Predictions, truths: Truths) -> dict[str, Any]:
    truth = {
        "images": [{"id": f"i{one}", "width": SIZE, "height": SIZE} for one in range(IMAGES)],
        "categories": [{"id": at, "name": name} for at, name in enumerate(NAMES)],
        "annotations": [
            {
                "id": row,
                "image_id": f"i{truths.image[row]}",
                "category_id": int(truths.class_id[row]),
                "bbox": truths.box[row].tolist(),
            }
            for row in range(len(truths))
        ],
    }
    found = [
        {
            "image_id": f"i{predictions.image[row]}",
            "category_id": int(predictions.class_id[row]),
            "bbox": predictions.box[row].tolist(),
            "score": float(predictions.confidence[row]),
        }
        for row in range(len(predictions))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(found))
    return {"ground_truth": str(folder / "truth.json"), "predictions": str(folder / "found.json")}


def write_yolo(folder: Path, predictions: Predictions, truths: Truths) -> dict[str, Any]:
    for name, side in (("labels", truths), ("found", predictions)):
        (folder / name).mkdir(parents=True)
        for image in range(IMAGES):
            lines = []
            for row in np.flatnonzero(side.image == image).tolist():
                corner, size = side.box[row, :2] / SIZE, side.box[row, 2:] / SIZE
                values = [int(side.class_id[row]), *(corner + size / 2).tolist(), *size.tolist()]
                values += [float(side.confidence[row])] if isinstance(side, Predictions) else []
                lines.append(" ".join(map(repr, values)))
            (folder / name / f"i{image}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(f"names: {json.dumps(NAMES)}")
    return {
        "ground_truth": str(folder / "labels/*.txt"),
        "predictions": str(folder / "found/*.txt"),
        "class_names": str(folder / "data.yaml"),
    }


def write_parquet(folder: Path, predictions: Predictions, truths: Truths) -> dict[str, Any]:
    folder.mkdir(parents=True)
    sources: dict[str, Any] = {}
    for name, side in (("ground_truth", truths), ("predictions", predictions)):
        columns = {
            "image_id": [f"i{one}" for one in side.image.tolist()],
            "class": [NAMES[one] for one in side.class_id.tolist()],
            **{f"box_{at}": side.box[:, at] for at in (0, 1)},
            **{f"box_{at + 2}": side.box[:, at] + side.box[:, at + 2] for at in (0, 1)},
        }
        if isinstance(side, Predictions):
            columns["score"] = side.confidence
            sources[name] = {"path": str(folder / "*.pq.parquet"), "columns": {"confidence": "score"}}
            pq.write_table(pa.table(columns), folder / "found.pq.parquet")
        else:
            sources[name] = {"path": str(folder / "truth.parquet")}
            pq.write_table(pa.table(columns), folder / "truth.parquet")
        sources[name]["box"] = "xyxy"
    return sources
