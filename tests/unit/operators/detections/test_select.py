"""Which samples are hard: closed forms of each strategy, and the hardest share by sorting."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators.detections.account import Account
from operators.detections.config import MatchConfig, SelectConfig
from operators.detections.losses import cross_entropy, focal
from operators.detections.select import Select
from operators.detections.tables import SAMPLES, Samples
from operators.errors import InputError
from tests.unit.operators.detections.drawn import drawn, tables_of

IMAGES = 6


def samples(*rows: dict[str, Any]) -> pa.Table:
    """Samples of one image and the class `cat`, where a row does not say otherwise."""
    nothing = dict.fromkeys(SAMPLES.names)
    more = {"image_key": 1, "image_id": "a", "class_id": 0, "class_name": "cat", "iou": 0.0, "any_iou": 0.0}
    return pa.Table.from_pylist([{**nothing, **more, "sample_key": at, **row} for at, row in enumerate(rows)], SAMPLES)


ROWS = samples(
    {"type": "true_positive", "confidence": 0.9, "iou": 0.55},
    {"type": "background", "confidence": 0.8},
    {"type": "background", "confidence": 0.4},
    {"type": "localization", "confidence": 0.6, "iou": 0.48},
    {"type": "duplicate", "confidence": 0.7, "iou": 0.9},
    {"type": "missed", "iou": 0.25},
    {"type": "ignored", "confidence": 0.99, "iou": 0.5},
    {"type": "background", "confidence": 0.45, "class_name": "dog", "class_id": 1, "loss": 3.0},
    {"type": "ignored_truth"},
)


def hardness(**strategy: Any) -> dict[int, float]:  # noqa: ANN401
    """How hard each hard row is for one strategy."""
    config = SelectConfig.model_validate({"strategies": [strategy]})
    ranked = Select(config).rank(ROWS)
    return {row: round(float(ranked.hardness[row]), 5) for row in ranked.hard.tolist()}


def near(samples: Samples) -> np.ndarray:
    return np.where(samples["confidence"] > 0.75, 0.5, -np.inf)


def broken(samples: Samples) -> np.ndarray:
    return np.full(len(samples), np.nan)


def test_each_strategy_calls_hard_what_it_says() -> None:
    assert hardness(strategy="confidence_based") == {1: 0.8, 3: 0.6}
    assert hardness(strategy="confidence_based", iou_threshold=1) == {1: 0.8, 3: 0.6, 4: 0.7}
    by_class = {"default": 0.7, "dog": 0.4}
    assert hardness(strategy="confidence_based", confidence_threshold=by_class) == {1: 0.8, 7: 0.45}
    assert hardness(strategy="iou_based") == {0: 0.5, 3: 0.8}
    assert hardness(strategy="missed") == {5: 0.75}
    assert hardness(strategy="missed", weight=2) == {5: 1.5}
    assert hardness(strategy="custom", function=f"{__name__}:near") == {0: 0.5, 1: 0.5}


def test_losses_are_those_of_their_formulas() -> None:
    right = [0.9, 1 - 0.8, 1 - 0.4]
    table = Samples(ROWS)
    assert cross_entropy(table)[:3].tolist() == pytest.approx([-math.log(p) for p in right])
    shares = [0.25, 0.75, 0.75]
    expected = [share * (1 - p) ** 2 * -math.log(p) for share, p in zip(shares, right, strict=True)]
    assert focal(table, 2, 0.25)[:3].tolist() == pytest.approx(expected)
    found = hardness(strategy="loss_based", min_loss=0.3)
    assert found[7] == 0.75  # 3 / (1 + 3): the loss that was given
    assert set(found) == {1, 4, 5, 7}  # the missed object too, and neither of those that do not count


@pytest.mark.parametrize("per", ["image", "class", "overall"])
@pytest.mark.parametrize("seed", range(10))
def test_the_hardest_share_of_each_group_is_chosen(per: str, seed: int) -> None:
    predictions, truths = drawn(seed, IMAGES)
    images, truth, found = tables_of(predictions, truths, IMAGES)
    account = Account(MatchConfig(), {})(images, truth, found)
    config = SelectConfig.model_validate({"per": per, "hard_negative_ratio": 0.2, "boost": 3})
    selection = Select(config)(account, images)
    rows = account.to_pylist()
    hard = {}
    for row in rows:
        wrong = row["type"] in {"localization", "classification", "duplicate", "background", "both"}
        if wrong and row["confidence"] >= 0.5 and row["iou"] < 0.5:
            hard[row["sample_key"]] = row["confidence"]
        if row["type"] == "missed":
            hard[row["sample_key"]] = 1 - row["iou"]
    group = {"image": "image_id", "class": "class_id", "overall": ""}[per]
    chosen = set()
    for one in {row.get(group) for row in rows}:
        counted = [r for r in rows if r.get(group) == one and r["type"] not in {"ignored", "ignored_truth"}]
        order = sorted(
            (r["sample_key"] for r in counted if r["sample_key"] in hard), key=lambda k: (-np.float32(hard[k]), k)
        )
        chosen |= set(order[: math.ceil(round(0.2 * len(counted), 6))])
    assert set(selection.hard["sample_key"].to_pylist()) == chosen
    for row in selection.hard.to_pylist():
        assert row["weight"] == pytest.approx(1 + 3 * hard[row["sample_key"]])
        assert row["strategies"] == ["missed" if row["type"] == "missed" else "confidence_based"]
    weights = {row["image_id"]: row for row in selection.images.to_pylist()}
    assert len(weights) == IMAGES
    for name, row in weights.items():
        of_image = [r for r in rows if r["image_id"] == name]
        above = [3 * hard[r["sample_key"]] for r in of_image if r["sample_key"] in chosen]
        assert (row["weight"], row["hard"]) == (pytest.approx(1 + sum(above)), len(above))
    counted = [row for row in rows if row["type"] not in {"ignored", "ignored_truth"}]
    assert selection.boxes.num_rows == len(counted) == sum(row["samples"] for row in weights.values())


@pytest.mark.parametrize(("image_weight", "expected"), [("sum", 3.8), ("mean", 1.4), ("max", 2.6)])
def test_an_image_weighs_what_its_boxes_weigh_above_1(image_weight: str, expected: float) -> None:
    config = SelectConfig.model_validate(
        {
            "strategies": ["confidence_based"],
            "hard_negative_ratio": 1,
            "image_weight": image_weight,
        }
    )
    images = pa.table({"image_key": [1], "image_id": ["a"]})
    assert Select(config)(ROWS, images).images["weight"].to_pylist() == pytest.approx([expected])


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"strategy": "confident"}, "there is no strategy 'confident'"),
        ({"strategy": "custom", "function": "nothing"}, "as `module:function`"),
        ({"strategy": "confidence_based", "confidence_threshold": {"dog": 0.3}}, "add the key `default`"),
        ({"strategy": "confidence_based", "confidence_threshold": 2}, "confidence_threshold"),
    ],
)
def test_a_wrong_section_is_refused(strategy: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SelectConfig.model_validate({"strategies": [strategy]})


def test_what_is_no_hardness_and_a_class_that_is_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="the hardness is to be a number from 0 to 1"):
        hardness(strategy="custom", function=f"{__name__}:broken")
    config = SelectConfig.model_validate(
        {"strategies": [{"strategy": "confidence_based", "confidence_threshold": {"default": 0.5, "cta": 0.3}}]}
    )
    with pytest.raises(InputError, match=r"there is no class 'cta'\. Did you mean 'cat'"):
        config.strategies[0].check_classes(["cat", "dog"])
    assert config.code() == [None]
    assert SelectConfig.model_validate({"strategies": [{"strategy": "custom", "function": f"{__name__}:near"}]}).code()[
        0
    ]
