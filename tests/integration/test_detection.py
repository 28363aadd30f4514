"""The pipeline over detections: every engine, every format, kill and restart, and the real images."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from infra.local.object_store import ObjectStore
from operators.detections.account import Account
from operators.detections.config import MatchConfig, SelectConfig
from operators.detections.select import Select
from operators.errors import InputError
from pipelines.detection.config import DetectionConfig
from pipelines.detection.sampler import image_weights
from pipelines.run import plan
from pipelines.runtime.status import status
from pipelines.runtime.storage.run_directory import RunDirectory
from pipelines.runtime.verify import verify
from tests.integration.conftest import run
from tests.integration.detection_sources import IMAGES, NAMES, boxes, write_coco, write_parquet, write_yolo
from tests.unit.operators.detections.drawn import COCO, tables_of

STAGES = ["prepare/boxes", "match/boxes", "match/precision", "select", "export"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_coco(tmp_path_factory.mktemp("boxes"), *boxes())


def config(folder: Path | str, data: dict[str, Any], **more: Any) -> DetectionConfig:  # noqa: ANN401
    raw = {"run": str(folder), "data": {"partition_bytes": 12_000, **data}, "engine": {"name": "local"}, **more}
    return DetectionConfig.model_validate(raw)


def table(folder: Path | str, name: str = "hard") -> pa.Table:
    files = sorted(Path(folder, "dataset", name).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files])


def keyed(rows: pa.Table) -> dict[int, dict[str, Any]]:
    return {row["sample_key"]: row for row in rows.to_pylist()}


@pytest.fixture(scope="module")
def expected() -> pa.Table:
    """What the operators say of all boxes at once."""
    images, truth, found = tables_of(*boxes(), IMAGES)
    truth = truth.set_column(2, "truth_id", pa.array([str(row) for row in range(truth.num_rows)]))
    found = found.set_column(2, "prediction_id", pa.array([str(row) for row in range(found.num_rows)]))
    samples = Account(MatchConfig(), dict(enumerate(NAMES)))(images, truth, found)
    return Select(SelectConfig(hard_negative_ratio=0.1))(samples, images).hard


def test_every_engine_chooses_what_the_operators_choose_of_all_boxes_at_once(
    data: dict[str, Any], expected: pa.Table, engine: str, tmp_path: Path
) -> None:
    engines = {"name": engine, "workers": 2 if engine == "ray" else "auto"}
    settings = config(tmp_path / "run", data, select={"hard_negative_ratio": 0.1}, engine=engines)
    result = run(settings)
    assert keyed(table(settings.run)) == keyed(expected)
    assert result["stages"]["select"]["rows_out"] == expected.num_rows > 10
    assert all(one["reused"] for one in run(settings)["stages"].values())
    again = run(settings.model_copy(update={"select": SelectConfig(per="image")}))
    assert [name for name, one in again["stages"].items() if not one["reused"]] == ["select", "export"]


@pytest.mark.parametrize("per", ["image", "class", "overall"])
def test_partitions_of_any_size_give_the_same_rows_and_weights(per: str, data: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for size in (20_000, 1 << 20):
        settings = config(tmp_path / str(size), {**data, "partition_bytes": size}, select={"per": per})
        run(settings)
        weights = {
            name: sorted(map(json.dumps, table(settings.run, name).to_pylist()))
            for name in ("box_weights", "image_weights")
        }
        assert len(weights["image_weights"]) == IMAGES
        found.append((keyed(table(settings.run)), weights))
    assert found[0] == found[1]


def test_yolo_and_parquet_give_the_rows_of_coco(data: dict[str, Any], tmp_path: Path) -> None:
    everything = {"hard_negative_ratio": 1}  # ids differ, and so which of equally hard samples comes first
    run(config(tmp_path / "coco", data, select=everything))
    named = ("image_id", "type", "class_name", "confidence", "hardness", "weight")
    wanted = Counter(tuple(row[name] for name in named) for row in table(tmp_path / "coco").to_pylist())
    for kind, write in (("yolo", write_yolo), ("parquet", write_parquet)):
        run(config(tmp_path / kind, write(tmp_path / f"{kind}-data", *boxes()), select=everything))
        rows = table(tmp_path / kind).to_pylist()
        assert Counter(tuple(row[name] for name in named) for row in rows) == wanted, kind


def test_what_it_exports_is_one_selection_in_every_form(data: dict[str, Any], tmp_path: Path) -> None:
    settings = config(tmp_path / "run", data)
    outputs = run(settings)["outputs"]
    hard = table(settings.run)
    lines = [
        json.loads(line)
        for file in sorted(Path(outputs["hard_jsonl"]).glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    assert lines == hard.to_pylist()
    coco = json.loads((Path(outputs["coco"]) / "all.json").read_text())
    assert [one["type"] for one in coco["annotations"]] == hard["type"].to_pylist()
    assert [one["bbox"] for one in coco["annotations"]] == [
        [row[side] for side in ("x", "y", "width", "height")] for row in lines
    ]
    assert {one["id"] for one in coco["images"]} == set(hard["image_id"].to_pylist())
    assert {one["name"] for one in coco["categories"]} == set(hard["class_name"].to_pylist())
    images = {row["image_id"]: row for row in table(settings.run, "image_weights").to_pylist()}
    assert sum(row["hard"] for row in images.values()) == hard.num_rows
    order = sorted(images, reverse=True)
    assert image_weights(settings.run, order).tolist() == [images[name]["weight"] for name in order]
    with pytest.raises(InputError, match="the image 'other' is not in this run"):
        image_weights(settings.run, ["other"])
    with pytest.raises(InputError, match="there are no weights of images"):
        image_weights(str(tmp_path / "nothing"), order)


def test_plan_status_verify_ranges_and_report_know_its_stages(data: dict[str, Any], tmp_path: Path) -> None:
    settings = config(tmp_path / "run", data)
    assert {name: one["state"] for name, one in plan(settings)["stages"].items()} == dict.fromkeys(STAGES, "run")
    run(settings, until="match")
    seen = status(RunDirectory(settings.run))["stages"]
    assert [one["state"] for one in seen.values()] == ["complete"] * 3 + ["waiting"] * 2
    run(settings, first="select")
    assert verify(RunDirectory(settings.run))["state"] == "whole"
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    predictions, truths = boxes()
    totals = report["totals"]
    assert totals["predictions"] == totals["true_positives"] + totals["false_positives"] == len(predictions)
    assert totals["true_positives"] + totals["false_negatives"] == len(truths)
    assert set(report["by_class"]) == set(report["average_precision_by_class"]) == set(NAMES)
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "<td>match boxes</td>" in page
    assert page.count("<svg") == 3  # confidence against IoU, and the distributions of both
    assert all(f">{kind}" in page for kind in ("true_positive", "background", "missed"))
    with pytest.raises(InputError, match="The stages are prepare, match, select, export, report"):
        run(settings, until="encode")


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_killed_by_the_command_line_it_goes_on(data: dict[str, Any], engine: str, tmp_path: Path) -> None:
    settings = config(tmp_path / "run", {**data, "partition_bytes": 2_500}, engine={"name": engine, "workers": 1})
    file = tmp_path / "detection.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(file), "--json"]
    committed: dict[Path, int] = {}
    for stage in ("prepare/boxes", "match/boxes", "select"):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 200
        while not (units := list(tmp_path.glob(f"run/{stage}/*/_units/*/*/*.json"))):
            assert process.poll() is None or list(tmp_path.glob(f"run/{stage}/*/_manifest.json"))
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, 9)
        process.wait()
        committed |= {path: path.stat().st_mtime_ns for path in units}
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout.splitlines()[-1])["stages"]["prepare"]["reused"]
    whole = config(tmp_path / "whole", data)
    run(whole)
    assert keyed(table(tmp_path / "run")) == keyed(table(whole.run))
    assert {path: path.stat().st_mtime_ns for path in committed} == committed


def test_everything_in_an_object_store(
    data: dict[str, Any], object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    options = object_store.storage_options()
    for name in ("ground_truth", "predictions"):
        object_store.file_system().put_file(data[name], f"{bucket}/{name}.json")
    sources = {
        name: {"path": f"{bucket}/{name}.json", "storage_options": options} for name in ("ground_truth", "predictions")
    }
    result = run(config(f"{bucket}/run", sources, storage_options=options))
    fs, root = fsspec.core.url_to_fs(result["outputs"]["hard"], **options)
    stored = pa.concat_tables([pq.read_table(fs.open(file)) for file in sorted(fs.glob(f"{root}/*.parquet"))])
    run(config(tmp_path / "here", data))
    assert keyed(stored) == keyed(table(tmp_path / "here"))


def test_the_real_images_have_the_published_precision(tmp_path: Path) -> None:
    if not COCO.is_dir():
        pytest.skip(f"COCO is not there: {COCO} lies beside the project on some machines only")
    sources = {
        "ground_truth": str(COCO / "instances_val2014_100.json"),
        "predictions": str(COCO / "instances_val2014_fakebbox100_results.json"),
    }
    run(config(tmp_path / "run", {**sources, "partition_bytes": 100_000}))
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    means = {name: round(value, 3) for name, value in report["average_precision"].items()}
    # cocoapi's own example of evaluation (pycocoEvalDemo) prints these for these two files.
    assert means == {
        "ap": 0.505,
        "ap50": 0.697,
        "ap75": 0.573,
        "ap_small": 0.586,
        "ap_medium": 0.519,
        "ap_large": 0.501,
        "ar100": 0.595,
    }
    assert report["types"]["tide_missed"] == 97
    assert (report["types"]["classification"], report["types"]["missed"]) == (83, 181)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"select": {"strategies": [{"strategy": "missed", "weigth": 2}]}}, "weigth"),
        ({"match": {"iou_threshold": 0.05}}, "background_threshold is above iou_threshold"),
        ({"data": {"predictions": "/nowhere/found.json"}}, "no file at /nowhere/found.json"),
        (
            {"select": {"strategies": [{"strategy": "confidence_based", "iou_threshold": {"default": 1, "cow": 0.5}}]}},
            "there is no class 'cow'",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    section: dict[str, Any], said: str, data: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        run(config(tmp_path / "run", {**data, **section.pop("data", {})}, **section))


def test_the_wrong_file_leaves_nothing(data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a list of results is wanted"):
        run(config(tmp_path / "run", {**data, "predictions": data["ground_truth"]}))
    assert not list((tmp_path / "run").glob("prepare/*"))


def test_the_snippets_of_the_page_train_with_the_weights(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/detection.md").read_text(encoding="utf-8")
    of_run, of_loop = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    run(config("runs/detection", data))
    predictions, truths = boxes()
    batch = []
    for image in range(4):
        found, there = (np.flatnonzero(side.image == image) for side in (predictions, truths))
        corners = [
            np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], 1)
            for box in (predictions.box[found], truths.box[there])
        ]
        of_image = {"labels": predictions.class_id[found], "scores": predictions.confidence[found]}
        batch.append(({"boxes": corners[0], **of_image}, {"boxes": corners[1], "labels": truths.class_id[there]}))
    paths = [f"i{image}" for image in range(IMAGES)]
    several: tuple[Any, ...] = tuple(zip(*batch, strict=True))
    names: dict[str, Any] = {
        "image_ids": paths,
        "all_paths": paths,
        "validation": [(several[0][:2], several[1][:2], paths[:2]), (several[0][2:], several[1][2:], paths[2:4])],
    }
    exec(of_run, names)
    assert len(list(names["sampler"])) == IMAGES
    assert max(names["weights"]) > 1
    exec(of_loop, names)
    assert len(list(names["sampler"])) == IMAGES
    assert [one["epoch"] for one in names["report"]["epochs"]] == [0, 1]
    assert names["report"]["images"] == 4
    assert (tmp_path / "mined/report.json").exists()
