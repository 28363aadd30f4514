"""The miner of a validation loop says what the operators say, and its weights are those of a sampler."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from operators.errors import InputError
from pipelines.detection.miner import HardNegativeMiner
from pipelines.detection.sampler import WeightedSampler

FOUND = {
    "boxes": [[0, 0, 10, 10], [40, 40, 60, 60], [0, 0, 10, 9]],
    "scores": [0.9, 0.8, 0.3],
    "labels": [1, 1, 1],
}
TRUTH = {"boxes": [[0, 0, 10, 10], [20, 20, 30, 30]], "labels": [1, 2]}
EMPTY: dict[str, Any] = {"boxes": np.zeros((0, 4)), "scores": [], "labels": []}


def tensors(image: dict[str, Any]) -> dict[str, torch.Tensor]:
    kinds = {"boxes": torch.float32, "scores": torch.float64, "labels": torch.int64}
    return {name: torch.tensor(np.asarray(values), dtype=kinds[name]) for name, values in image.items()}


@pytest.mark.parametrize("form", [dict, tensors])
def test_it_finds_confident_mistakes_and_missed_objects(form: Any) -> None:  # noqa: ANN401
    miner = HardNegativeMiner(hard_negative_ratio=1, class_names={1: "cat", 2: "dog"})
    hard = miner.find_hard_negatives([form(FOUND), form(EMPTY)], [form(TRUTH), form(TRUTH)], ["a.png", "b.png"])
    said = [(row["image_id"], row["type"], row["class_name"], round(row["hardness"], 6)) for row in hard]
    assert sorted(said) == [
        ("a.png", "background", "cat", 0.8),
        ("a.png", "missed", "dog", 1.0),
        ("b.png", "missed", "cat", 1.0),
        ("b.png", "missed", "dog", 1.0),
    ]
    assert said[-1][3] == 0.8
    totals = miner.generate_report()["totals"]
    assert (totals["true_positives"], totals["false_positives"], totals["false_negatives"]) == (1, 2, 3)
    assert miner.image_weights(["b.png", "c.png", "a.png"]).tolist() == pytest.approx([5.0, 1.0, 1 + 2 * 1.8])


def test_batches_add_up_and_epochs_drift() -> None:
    together, apart = HardNegativeMiner(), HardNegativeMiner(mine_every=2)
    together.find_hard_negatives([FOUND, EMPTY, FOUND], [TRUTH] * 3)
    for found in (FOUND, EMPTY, FOUND):
        apart.find_hard_negatives(found, TRUTH)
    one, other = together.generate_report(), apart.generate_report()
    assert (one["totals"], one["by_class"], one["images"]) == (other["totals"], other["by_class"], other["images"])
    histogram = together.epochs[0].histogram
    assert np.array_equal(histogram, apart.epochs[0].histogram)
    assert (histogram[1, 45, 49], histogram[0].sum()) == (2, 4)
    assert [apart.start_epoch(epoch) for epoch in range(3)] == [True, False, True]
    apart.find_hard_negatives(EMPTY, TRUTH)
    drift = apart.generate_report()["epochs"]
    assert [(row["epoch"], row["recall"]) for row in drift] == [(0, pytest.approx(2 / 6)), (2, 0.0)]


def test_what_it_writes_is_what_it_returns(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "white").save(picture)
    miner = HardNegativeMiner(hard_negative_ratio=1, save_samples=True, output_dir=tmp_path / "out")
    hard = miner.find_hard_negatives(FOUND, TRUTH, str(picture))
    miner.generate_report()
    lines = [json.loads(line) for line in (tmp_path / "out/hard_samples.jsonl").read_text().splitlines()]
    assert [line.pop("epoch") for line in lines] == [0] * len(hard)
    assert lines == hard
    crops = {int(file.name.partition("-")[0]): file for file in (tmp_path / "out/crops/epoch-0").iterdir()}
    assert set(crops) == {row["sample_key"] for row in hard}
    background = next(row for row in hard if row["type"] == "background")
    with Image.open(crops[background["sample_key"]]) as crop:  # 20 wide, half of that around, cut at the edge
        assert crop.size == (64 - 30, 64 - 30)
        assert crop.getpixel((10, 10)) == (0xD6, 0x27, 0x28)
    assert json.loads((tmp_path / "out/report.json").read_text())["hard_samples"] == len(hard)


class Detector(torch.nn.Module):
    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        assert not self.training
        assert not torch.is_grad_enabled()
        return [tensors(FOUND) for _ in images]


def test_a_model_is_run_on_an_image_and_stays_in_its_mode() -> None:
    model = Detector().train()
    hard = HardNegativeMiner(hard_negative_ratio=1).real_time_mining(model, torch.zeros(3, 64, 64), TRUTH)
    assert [row["type"] for row in hard] == ["missed", "background"]
    assert model.training


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"predictions": [FOUND, FOUND], "ground_truth": TRUTH}, "2 images have predictions, and 1 ground truth"),
        ({"predictions": FOUND, "ground_truth": TRUTH, "image_path": ["a", "b"]}, "2 paths for 1 images"),
        ({"predictions": {**FOUND, "scores": [1.0]}, "ground_truth": TRUTH}, "3 boxes need as many scores"),
        ({"predictions": {**FOUND, "scores": [1, 2, 0]}, "ground_truth": TRUTH}, "confidence 1 is 2"),
        ({"predictions": [FOUND] * 2, "ground_truth": [TRUTH] * 2, "image_path": ["a", "a"]}, "in the batch twice"),
        ({"predictions": FOUND, "ground_truth": {"boxes": [[5, 5, 1, 1]], "labels": [1]}}, "its size is negative"),
    ],
)
def test_what_is_no_batch_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        HardNegativeMiner().find_hard_negatives(**arguments)


@pytest.mark.parametrize("wrong", [{"hard_negative_ratio": 2}, {"strategies": ["hard"]}, {"save_samples": True}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="HardNegativeMiner"):
        HardNegativeMiner(**wrong)


def test_the_sampler_draws_as_often_as_weights_say() -> None:
    weights = np.array([0.0, 1.0, 3.0, 0.0, 4.0])
    sampler = WeightedSampler(weights, 80_000)
    first, second = list(sampler), list(sampler)
    shares = np.bincount(first, minlength=5) / len(first)
    np.testing.assert_allclose(shares, weights / 8, atol=0.01)
    assert shares[0] == shares[3] == 0
    assert first != second
    assert len(sampler) == len(first)
    with pytest.raises(InputError, match="not all 0"):
        WeightedSampler(np.zeros(3), 2)
    torchs = torch.utils.data.WeightedRandomSampler(HardNegativeMiner().image_weights(["a", "b"]).tolist(), 7)
    assert set(torchs) <= {0, 1}
