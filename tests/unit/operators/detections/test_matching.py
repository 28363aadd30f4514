"""Matching: what COCO's loop over boxes gives, on awkward boxes and on real ones."""

import contextlib
import io
import json
from collections import Counter

import numpy as np
import pytest

from operators.detections.average_precision import AREAS, MAX_DETECTIONS, THRESHOLDS, curve_of, mean_of
from operators.detections.boxes import Predictions, Truths
from operators.detections.kinds import KINDS, errors_of
from operators.detections.matching import NONE, Matcher, ranks_in_class
from operators.detections.overlaps import overlaps
from tests.unit.operators.detections import brute_force
from tests.unit.operators.detections.drawn import COCO, Coco, drawn


@pytest.mark.parametrize("seed", range(150))
def test_it_matches_as_cocos_loop_does(seed: int) -> None:
    predictions, truths = drawn(seed)
    any_class = seed % 3 == 0
    matcher = Matcher(predictions, truths, overlaps(predictions, truths, 0.1), any_class)
    for areas in (None, (0.0, 20.0), (10.0, 30.0)):
        for threshold, matching in zip((0.1, 0.5, 1.0), matcher.at(0.1, 0.5, 1.0, areas=areas), strict=True):
            expected = brute_force.match(predictions, truths, threshold, areas or (0, np.inf), any_class)
            assert (matching.truth.tolist(), matching.ignored.tolist()) == expected
            assert set(np.flatnonzero(matching.matched).tolist()) == set(expected[0]) - {NONE}


@pytest.mark.parametrize("seed", range(100))
def test_kinds_are_those_of_tides_loop(seed: int) -> None:
    predictions, truths = drawn(seed, classes=3)
    pairs = overlaps(predictions, truths, 0.1)
    (matching,) = Matcher(predictions, truths, pairs).at(0.5)
    errors = errors_of(predictions, truths, pairs, matching)
    assert [KINDS[one] for one in errors.kind] == brute_force.kinds(predictions, truths, 0.5, 0.1)
    assert not (errors.correctable & matching.matched).any()


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_are_all_pairs_of_an_image_that_reach_the_least(seed: int) -> None:
    predictions, truths = drawn(seed)
    found = overlaps(predictions, truths, 0.3)
    expected = {
        (p, t): value
        for p in range(len(predictions))
        for t in range(len(truths))
        if predictions.image[p] == truths.image[t]
        and (value := brute_force.iou(predictions.box[p], truths.box[t], bool(truths.crowd[t]))) >= 0.3
    }
    pairs = zip(found.prediction.tolist(), found.truth.tolist(), strict=True)
    assert dict(zip(pairs, found.iou.tolist(), strict=True)) == expected


def test_thousands_of_boxes_in_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    count = 1_200
    box = np.concatenate([rng.random((count, 2)) * 300, rng.random((count, 2)) * 30 + 5], 1)
    one = np.zeros(count, np.int64)
    near = box + rng.normal(0, 2, box.shape).clip(-4, 4)
    predictions, truths = Predictions(one, one, near, rng.random(count).round(2)), Truths.of(one, one, box)
    (matching,) = Matcher(predictions, truths, overlaps(predictions, truths, 0.1)).at(0.5)
    taken: set[int] = set()
    lefts, rights = near[:, None, :2], near[:, None, :2] + near[:, None, 2:]
    shared = np.minimum(rights, (box[:, :2] + box[:, 2:])[None]) - np.maximum(lefts, box[None, :, :2])
    both = np.where((shared > 0).all(-1), shared.prod(-1), 0)
    ious = both / (predictions.area[:, None] + truths.area[None] - both)
    expected = [NONE] * count
    for p in sorted(range(count), key=lambda p: -predictions.confidence[p]):
        free = [t for t in np.flatnonzero(ious[p] >= 0.5).tolist() if t not in taken]
        if free:
            expected[p] = max(free, key=lambda t: (ious[p, t], t))
            taken.add(expected[p])
    assert matching.truth.tolist() == expected
    monkeypatch.setattr("operators.detections.overlaps.COMPARED", 20_011)  # in blocks it is the same
    again = overlaps(predictions, truths, 0.1)
    assert Matcher(predictions, truths, again).at(0.5)[0].truth.tolist() == expected


@pytest.mark.parametrize("identical", [False, True])
def test_without_boxes_and_with_one_box_many_times(identical: bool) -> None:
    count = 300 if identical else 0
    one, box = np.zeros(count, np.int64), np.tile([1.0, 2.0, 3.0, 4.0], (count, 1))
    predictions, truths = Predictions(one, one, box, np.ones(count)), Truths.of(one, one, box)
    (matching,) = Matcher(predictions, truths, overlaps(predictions, truths, 0.5)).at(0.5)
    assert matching.truth.tolist() == list(range(count))[::-1]  # of equal ones the last object, as in pycocotools


def means(coco: Coco, areas: str = "all") -> list[float | None]:
    """AP, and AP at .50 and .75, of the real images."""
    matcher = Matcher(coco.predictions, coco.truths, overlaps(coco.predictions, coco.truths, 0.5))
    matchings = matcher.at(*THRESHOLDS, areas=AREAS[areas])
    low, high = AREAS[areas]
    counted = ~coco.truths.ignored & (coco.truths.area >= low) & (coco.truths.area <= high)
    objects = Counter(coco.truths.class_id[counted].tolist())
    kept = np.flatnonzero(ranks_in_class(coco.predictions) < MAX_DETECTIONS)
    kept = kept[np.argsort(coco.predictions.image[kept], kind="stable")]
    curves = []
    for class_id, count in objects.items():
        rows = kept[coco.predictions.class_id[kept] == class_id]
        matched = np.array([one.truth[rows] != NONE for one in matchings])
        ignored = np.array([one.ignored[rows] for one in matchings])
        curves.append(curve_of(coco.predictions.confidence[rows], matched, ignored, count))
    return [mean_of(curves, at) for at in (None, 0, 5)]


def test_the_average_precision_is_the_published_one(coco: Coco) -> None:
    # cocoapi's own example of evaluation (pycocoEvalDemo) prints these for these two files.
    assert [round(value or 0, 3) for value in means(coco)] == [0.505, 0.697, 0.573]
    assert [round(means(coco, areas)[0] or 0, 3) for areas in ("small", "medium", "large")] == [0.586, 0.519, 0.501]


def test_every_prediction_and_every_precision_is_that_of_pycocotools(coco: Coco) -> None:
    evaluated = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed")
    from pycocotools.coco import COCO as Api

    with contextlib.redirect_stdout(io.StringIO()):
        api = Api(str(COCO / "instances_val2014_100.json"))
        results = api.loadRes(str(COCO / "instances_val2014_fakebbox100_results.json"))
        theirs = evaluated.COCOeval(api, results, "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    assert means(coco) == pytest.approx(theirs.stats[:3], abs=1e-12)
    pairs = overlaps(coco.predictions, coco.truths, 0.5)
    matcher = Matcher(coco.predictions, coco.truths, pairs)
    ids = [one["id"] for one in json.loads((COCO / "instances_val2014_100.json").read_text())["annotations"]]
    for name, areas in zip(("all", "small", "medium", "large"), theirs.params.areaRng, strict=True):
        assert tuple(areas) == AREAS[name]
        ours = matcher.at(*THRESHOLDS, areas=AREAS[name])
        for one in (one for one in theirs.evalImgs if one is not None and one["aRng"] == areas):
            rows = np.array(one["dtIds"], np.int64) - 1  # loadRes numbers them from 1
            for at, matching in enumerate(ours):
                truth = [0 if t == NONE else ids[t] for t in matching.truth[rows].tolist()]
                assert truth == one["dtMatches"][at].astype(int).tolist()
                assert matching.ignored[rows].tolist() == one["dtIgnore"][at].astype(bool).tolist()


def test_counts_of_the_real_images_by_class(coco: Coco) -> None:
    pairs = overlaps(coco.predictions, coco.truths, 0.1)
    (matching,) = Matcher(coco.predictions, coco.truths, pairs).at(0.5)
    errors = errors_of(coco.predictions, coco.truths, pairs, matching)
    counts = Counter(KINDS[one] for one in errors.kind.tolist())
    missed = ~coco.truths.ignored & ~matching.matched
    # tidecv 1.0.1 gives these errors, and these objects: all that are missed, and those no other error is about.
    assert counts == {"true_positive": 649, "classification": 83, "localization": 1, "duplicate": 1}
    assert (int(missed.sum()), int((missed & ~errors.correctable).sum())) == (181, 97)
