"""Files of boxes: what is read is what was written, and what is none is refused in one line with its place."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.detections.input import json_stream
from operators.detections.input.apart import apart
from operators.detections.input.config import SIDES, DataConfig, Side, SourceConfig
from operators.detections.input.json_stream import NotJsonError, members
from operators.detections.input.read import read
from operators.detections.input.sources import check_sides, class_names, list_files
from operators.errors import InputError

TRUTH = {
    "info": {"year": 2014, "nested": [[1], {"a": [2]}]},
    "annotations": [
        {"id": 7, "image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 0},
        {"id": 9, "image_id": 3, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
    ],
    "images": [{"id": 3, "width": 20, "height": 10, "file_name": "3.jpg"}, {"id": 4}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}
FOUND = [{"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.25}]


def rows(path: Path | str, side: Side, names: dict[int, str] | None = None, **source: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    files = list_files(side, SourceConfig.model_validate({"path": str(path), **source}))
    known: dict[int, str] = {} if names is None else names
    tables = [one for at, file in enumerate(files) for one in read(file, at, len(files) > 1, known)]
    return [row for table in tables for row in table.to_pylist()]


def written(folder: Path, name: str, value: object) -> Path:
    path = folder / name
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["truth.json", "truth.json.gz"])
def test_coco_ground_truth_is_read_in_whatever_order_it_is(name: str, tmp_path: Path) -> None:
    names: dict[int, str] = {}
    found = rows(written(tmp_path, name, TRUTH), "ground_truth", names)
    assert names == {1: "cat", 2: "dog"}
    assert [(row["side"], row["image_id"], row["box_id"]) for row in found] == [
        (1, "3", "7"),
        (1, "3", "9"),
        (0, "3", None),
        (0, "4", None),
    ]
    assert [found[0][name] for name in ("x", "y", "width", "height", "area", "crowd")] == [1, 2, 3, 4, 5.5, False]
    assert (found[1]["area"], found[1]["crowd"], found[1]["ignored"]) == (81, True, True)
    assert (found[2]["image_width"], found[2]["uri"], found[3]["image_width"]) == (20, "3.jpg", None)


def test_results_are_numbered_by_their_place(tmp_path: Path) -> None:
    written(tmp_path, "a.json", FOUND * 2)
    assert [row["box_id"] for row in rows(tmp_path / "a.json", "predictions")] == ["0", "1"]
    written(tmp_path, "b.json", FOUND)
    found = rows(tmp_path / "*.json", "predictions")
    assert [row["box_id"] for row in found] == ["0:0", "0:1", "1:0"]
    assert sorted(row["place"] for row in found) == [row["place"] for row in found]


def test_the_stream_yields_what_json_loads_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)

    def value(depth: int) -> Any:  # noqa: ANN401
        kinds = [lambda: draw.randint(-999, 999), lambda: draw.random() * 1e-9, lambda: 'ä\\"[{,' * draw.randint(0, 3)]
        kinds += [lambda: None, lambda: True]
        if depth:
            kinds += [lambda: [value(depth - 1) for _ in range(draw.randint(0, 3))]]
            kinds += [lambda: {str(n): value(depth - 1) for n in range(draw.randint(0, 3))}]
        made: Any = draw.choice(kinds)
        return made()

    for _ in range(80):
        monkeypatch.setattr(json_stream, "BLOCK", draw.choice([1, 7, 64]))
        whole = {str(n): value(3) for n in range(draw.randint(0, 4))} if draw.random() < 0.7 else [value(2), value(2)]
        text = json.dumps(whole, indent=draw.choice([None, 2]), ensure_ascii=draw.random() < 0.5)
        arrays = {"": whole} if isinstance(whole, list) else {k: v for k, v in whole.items() if isinstance(v, list)}
        expected = [(key, one) for key, array in arrays.items() for one in array]
        assert list(members(io.BytesIO(text.encode()))) == expected
        if len(text) > 2:
            with pytest.raises(NotJsonError):
                list(members(io.BytesIO(text[: draw.randint(1, len(text) - 1)].encode())))


@pytest.mark.parametrize(
    ("side", "content", "said"),
    [
        ("predictions", TRUTH, "a list of results is wanted"),
        ("ground_truth", FOUND, "an object with images and annotations is wanted"),
        ("predictions", [{"image_id": 1, "category_id": 1, "segmentation": {}, "score": 1}], "masks and keypoints"),
        ("predictions", [{"image_id": 1, "category_id": 1, "keypoints": [], "score": 1}], "keypoints and no bbox"),
        ("predictions", [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}], "'score' is missing"),
        ("predictions", [{**FOUND[0], "score": 3}], "confidence 0 is 3"),
        ("predictions", [{**FOUND[0], "bbox": [1, 2, -3, 4]}], "its size is negative"),
        ("predictions", [{**FOUND[0], "bbox": [1, float("nan"), 3, 4]}], "not finite"),
        ("predictions", [{**FOUND[0], "bbox": [1, 2, 3]}], "from 0: "),
        ("predictions", [{**FOUND[0], "image_id": [1]}], "neither a number nor a text"),
        ("predictions", '[{"image_id": 1}, ', "not JSON after 0 boxes"),
        ("predictions", "not json", "not JSON"),
    ],
)
def test_what_is_no_coco_file_is_refused(side: Side, content: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as refused:
        rows(written(tmp_path, "boxes.json", content), side)
    assert "boxes.json" in str(refused.value)


def test_yolo_files_are_read_as_shares(tmp_path: Path) -> None:
    written(tmp_path, "one.txt", "2 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.2 0.2\n")
    written(tmp_path, "empty.txt", "")
    found = rows(tmp_path / "*.txt", "ground_truth")
    assert [(row["side"], row["image_id"], row["class_id"]) for row in found] == [
        (0, "empty", None),
        (0, "one", None),
        (1, "one", 2),
        (1, "one", 0),
    ]
    assert [found[2][name] for name in ("x", "y", "width", "height")] == pytest.approx([0.4, 0.3, 0.2, 0.4])
    (tmp_path / "found").mkdir()
    written(tmp_path, "found/one.txt", "2 0.5 0.5 0.2 0.4 0.75\n")
    assert rows(tmp_path / "found/*.txt", "predictions")[1]["confidence"] == 0.75


@pytest.mark.parametrize(
    ("side", "content", "said"),
    [
        ("predictions", "1 0.5 0.5 0.1 0.1", "line 1 has 5 values, and 6 are wanted. Save predictions with"),
        ("ground_truth", "1 0.5 0.5 0.1 0.1\n1 .1 .2 .3 .4 .5 .6 .7 .8", "line 2 has 9 values.*polygon"),
        ("ground_truth", "cat 0.5 0.5 0.1 0.1", "in numbers"),
        ("ground_truth", "1.5 0.5 0.5 0.1 0.1", "no whole number"),
        ("ground_truth", "1 320 240 50 60", "to be shares"),
        ("predictions", "1 0.5 0.5 0.1 0.1 7", "confidence 0 is 7"),
    ],
)
def test_what_is_no_yolo_file_is_refused(side: Side, content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        rows(written(tmp_path, "one.txt", content), side)


def parquet(folder: Path, **columns: Any) -> Path:  # noqa: ANN401
    pq.write_table(pa.table(columns), folder / "boxes.parquet")
    return folder / "boxes.parquet"


def test_parquet_is_read_with_columns_of_any_name(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        name=["a", "a", "b"],
        label=["cat", "dog", "cat"],
        left=[0.25, 0.0, 0.0],
        top=[0.5, 0.0, 0.0],
        right=[0.5, 1.0, 0.0],
        bottom=[1.0, 1.0, 0.0],
        confidence=[0.5, 1.0, 0.0],
        loss=[1.5, None, float("nan")],
        w=[40, 40, 10],
        h=[20, 20, 10],
    )
    columns = {"image_id": "name", "class": "label", "image_width": "w", "image_height": "h"}
    columns |= dict(zip(("box_0", "box_1", "box_2", "box_3"), ("left", "top", "right", "bottom"), strict=True))
    names: dict[int, str] = {}
    found = rows(file, "predictions", names, box="xyxy", normalized=True, columns=columns)
    assert sorted(names.values()) == ["cat", "dog"]
    assert [(row["side"], row["image_id"], row["image_width"]) for row in found[:2]] == [(3, "a", 40), (3, "b", 10)]
    boxes = [[row[name] for name in ("x", "y", "width", "height")] for row in found[2:]]
    assert boxes == [[10, 10, 10, 10], [0, 0, 40, 20], [0, 0, 0, 0]]
    assert [row["loss"] for row in found[2:]] == [1.5, None, None]
    assert [names[row["class_id"]] for row in found[2:]] == ["cat", "dog", "cat"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image_id": ["a"], "class": [1], "box": [[1.0, 2, 3, 4]]}, "no column 'confidence'"),
        ({"image_id": ["a"], "class": [1], "confidence": [1.0]}, "no column 'box_0'"),
        ({"image_id": ["a"], "class": [1], "box": [[1.0, 2, 3]], "confidence": [1.0]}, "a list of four numbers"),
        ({"image_id": [None, "a"], "class": [1, 2], "box": [[1.0] * 4] * 2, "confidence": [1.0] * 2}, "missing"),
        ({"image_id": ["a"], "class": [1], "box": [[1.0] * 4], "confidence": [1.0], "loss": [-1.0]}, "loss 0 is -1"),
        ({"image_id": ["a"], "class": [1], "box": ["x"], "confidence": [1.0]}, "of the right kind"),
    ],
)
def test_wrong_columns_are_refused(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        rows(parquet(tmp_path, **columns), "predictions")


def test_damaged_files_and_other_names_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(FOUND * 100).encode())
    (tmp_path / "cut.json.gz").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="damaged or cut short"):
        rows(tmp_path / "cut.json.gz", "predictions")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"cut\.parquet: from row 0"):
        rows(tmp_path / "cut.parquet", "predictions")
    with pytest.raises(InputError, match="no file at"):
        rows(tmp_path / "none.json", "predictions")
    with pytest.raises(InputError, match="its name does not tell its format"):
        rows(written(tmp_path, "boxes.csv", "a"), "predictions")


def test_sides_in_pixels_and_in_shares_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "truth.json", TRUTH)
    written(tmp_path, "one.txt", "2 0.5 0.5 0.2 0.4 0.5")
    data = DataConfig.model_validate(
        {"ground_truth": str(tmp_path / "truth.json"), "predictions": str(tmp_path / "one.txt")}
    )
    files = {side: list_files(side, getattr(data, side)) for side in SIDES}
    with pytest.raises(InputError, match="some boxes are in pixels, others are shares"):
        check_sides(data, files)


def test_names_of_classes_come_from_a_data_yaml(tmp_path: Path) -> None:
    paths = {"ground_truth": "a.txt", "predictions": "b.txt"}
    for content in ("names: [cat, dog]", "names: {0: cat, 1: dog}"):
        file = written(tmp_path, "data.yaml", content)
        data = DataConfig.model_validate({**paths, "class_names": str(file)})
        assert class_names(data) == {0: "cat", 1: "dog"}
    written(tmp_path, "data.yaml", "train: images")
    with pytest.raises(InputError, match="with `names` is wanted"):
        class_names(data)


def test_a_box_of_an_image_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    (file,) = list_files("ground_truth", SourceConfig(path=(str(written(tmp_path, "truth.json", TRUTH)),)))
    known = list(read(file, 0, False, {}))
    written(tmp_path, "found.json", [{**FOUND[0], "image_id": 77}])
    (file,) = list_files("predictions", SourceConfig(path=(str(tmp_path / "found.json"),)))
    said = "a prediction is of the image '77', which the ground truth does not list"
    everything = pa.concat_tables([*known, *read(file, 0, False, {})])
    with pytest.raises(InputError, match=said):
        apart(everything)
    columns = {"image_id": [77], "class": [1], "box": [[1.0, 2, 3, 4]], "confidence": [1.0]}
    (file,) = list_files("predictions", SourceConfig(path=(str(parquet(tmp_path, **columns)),)))
    everything = pa.concat_tables([*known, *read(file, 0, False, {})])
    with pytest.raises(InputError, match=said):
        apart(everything, listed=True)
    assert sorted(apart(everything).images["image_id"].to_pylist()) == ["3", "4", "77"]


def test_rows_come_apart_in_whatever_order_they_arrive(tmp_path: Path) -> None:
    (file,) = list_files("ground_truth", SourceConfig(path=(str(written(tmp_path, "truth.json", TRUTH)),)))
    everything = pa.concat_tables(list(read(file, 0, False, {})))
    shuffled = everything.take(pa.array(np.random.default_rng(0).permutation(everything.num_rows)))
    one, other = apart(everything), apart(shuffled)
    assert one == other
    assert one.truths["truth_id"].to_pylist() == ["7", "9"]
    assert sorted(one.images["image_id"].to_pylist()) == ["3", "4"]
