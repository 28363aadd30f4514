"""Boxes in every form are the same boxes, and what is no box is refused with its row."""

import numpy as np
import pytest

from operators.detections.average_precision import Counts, curve_of
from operators.detections.boxes import BoxFormat, check_confidences, in_pixels
from operators.errors import InputError


def test_every_form_gives_the_same_boxes() -> None:
    rng = np.random.default_rng(0)
    box, sizes = rng.random((50, 4)) * 100, rng.integers(100, 900, (50, 2)).astype(np.float64)
    corner, size = box[:, :2], box[:, 2:]
    written: dict[BoxFormat, np.ndarray] = {
        "xywh": box,
        "xyxy": np.concatenate([corner, corner + size], 1),
        "cxcywh": np.concatenate([corner + size / 2, size], 1),
    }
    for form, values in written.items():
        np.testing.assert_allclose(in_pixels(values, form, "here"), box, atol=1e-12)
        shares = values / np.tile(sizes, 2)
        np.testing.assert_allclose(in_pixels(shares, form, "here", sizes), box, atol=1e-12)


@pytest.mark.parametrize(
    ("box", "form", "sizes", "said"),
    [
        ([1, 2, np.nan, 4], "xywh", None, r"here: box 1 \[1, 2, nan, 4\]: a coordinate is not finite"),
        ([1, np.inf, 3, 4], "xyxy", None, "not finite"),
        ([5, 5, 4, 9], "xyxy", None, r"its size is negative. Is it one of xywh, cxcywh\?"),
        ([5, 5, -4, 9], "xywh", None, "its size is negative"),
        ([0.5, 0.5, 30, 40], "cxcywh", [[640, 480]] * 2, "Set normalized: false"),
    ],
)
def test_what_is_no_box_is_refused(box: list[float], form: BoxFormat, sizes: list[list[int]] | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        in_pixels(np.array([[0, 0, 1, 1], box]), form, "here", None if sizes is None else np.array(sizes, np.float64))


def test_boxes_without_area_and_outside_of_the_image_are_boxes() -> None:
    box = np.array([[-50.0, -50, 10, 10], [3, 3, 0, 0]])
    assert np.array_equal(in_pixels(box, "xywh", "here"), box)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.5])
def test_a_confidence_is_a_number_from_0_to_1(wrong: float) -> None:
    with pytest.raises(InputError, match="here: confidence 2 is"):
        check_confidences(np.array([0.0, 1.0, wrong]), "here")


def test_precision_recall_and_f1_of_known_counts() -> None:
    counts = Counts(6, 2, 4)
    assert [counts.precision, counts.recall, counts.f1] == pytest.approx([0.75, 0.6, 2 * 0.75 * 0.6 / 1.35])
    nothing = Counts(0, 0, 0)
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)


def test_the_precision_at_every_recall_of_a_known_ranking() -> None:
    # Right, wrong, right, of three objects: precision 1 up to recall 1/3, then 2/3 up to 2/3, then 0.
    matched = np.array([[True, False, False, True]])
    ignored = np.array([[False, True, False, False]])
    curve = curve_of(np.array([0.9, 0.8, 0.7, 0.6]), matched, ignored, 3)
    assert curve is not None
    np.testing.assert_allclose(curve.precision[0], [1.0] * 34 + [2 / 3] * 33 + [0.0] * 34)
    assert curve.recall.tolist() == pytest.approx([2 / 3])
    assert curve_of(np.zeros(0), np.zeros((1, 0), bool), np.zeros((1, 0), bool), 0) is None
    empty = curve_of(np.zeros(0), np.zeros((1, 0), bool), np.zeros((1, 0), bool), 2)
    assert empty is not None
    assert not empty.precision.any()
