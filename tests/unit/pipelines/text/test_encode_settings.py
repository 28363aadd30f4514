"""What kept vectors depend on: a run directory never mixes vectors that are lifted in different ways."""

from typing import Any

import pytest

from operators.vectors.encoder import EncoderConfig
from operators.vectors.geometry import Euclidean, Poincare
from pipelines.runtime.engines import Pool
from pipelines.text.stages.encode import SIDES, EncodeTexts


def settings_of(similarity: Any) -> Any:  # noqa: ANN401 - of JSON
    config = EncoderConfig(similarity=similarity)
    return EncodeTexts(config, None, frozenset(SIDES), Pool(1), "cpu").settings()


def test_another_lift_makes_other_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    for similarity, geometry in (("euclidean", Euclidean), ("poincare", Poincare)):
        before = settings_of(similarity)
        monkeypatch.setattr(geometry, "added", 1)
        after = settings_of(similarity)
        assert all(before[side] != after[side] for side in SIDES)
    assert all("added" not in settings_of("cosine")[side] for side in SIDES)
