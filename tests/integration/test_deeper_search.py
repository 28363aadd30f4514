"""Deeper search of queries that the filters leave short, and the recall that is measured and reported."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.text.stages.search import operating_point as operating_point_module
from pipelines.text.stages.search import short as short_module
from tests.integration.conftest import Collection, configuration, dataset, run


@pytest.mark.parametrize("strategy", ["top", "random", "diverse"])
def test_queries_that_a_margin_leaves_short_are_searched_deeper_and_alone(
    collection: Collection, static_model: Path, engine_in_time: str, strategy: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"engine": {"name": engine_in_time}}
    select = {"relative_margin": 0.0, "range_max": 8, "num_negatives": 2, "sampling_strategy": strategy}
    adaptive = configuration(tmp_path / "a", collection, static_model, search={"k": 8}, select=select, **options)
    deep = configuration(
        tmp_path / "d", collection, static_model, search={"k": 80, "max_k": 80}, select=select, **options
    )
    shallow = configuration(
        tmp_path / "a", collection, static_model, search={"k": 8, "max_k": 8}, select=select, **options
    )
    result = run(adaptive)
    run(deep)
    assert dataset(tmp_path / "a").equals(dataset(tmp_path / "d"))
    short = result["stages"]["search"]["sides"]["short"]["rows_in"]
    assert 0 < short < len(collection.queries)
    assert run(shallow)["stages"]["search"]["sides"]["all"]["reused"]
    assert dataset(tmp_path / "a").num_rows < dataset(tmp_path / "d").num_rows


@pytest.mark.parametrize("sample", [3, 512])
@pytest.mark.parametrize("point", [{}, {"nprobe": 2, "refine_factor": 2}])
def test_every_deeper_round_has_a_recall_of_its_own(
    with_vectors: dict[str, Any],
    point: dict[str, int],
    sample: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Codes that lose much and a margin that drops much; what is few enough to be searched exactly is."""
    for module in (operating_point_module, short_module):
        monkeypatch.setattr(module, "SAMPLE", sample)
    index = {"factory": "IVF16,PQ16x4fs", "shard_rows": 200}
    search, select = (
        {"k": 8, "max_k": 64, **point},
        {"relative_margin": 0.0, "range_max": 8, "num_negatives": 2},
    )
    run(configuration(tmp_path, None, None, data=with_vectors, index=index, search=search, select=select))
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    rounds = report["search"]["deeper"]
    assert [one["k"] for one in rounds] == [32, 64][: len(rounds)]
    assert rounds
    for one in rounds:
        tuned = bool(point) or one["queries"] > sample
        assert (one["recall"] is not None) == tuned
        if tuned:
            assert one["recall"]["k"] == one["k"]
            assert one["recall"]["queries"] == min(one["queries"], sample)
            missed = any(f"recall@{one['k']} " in warning for warning in report["warnings"])
            assert one["recall"]["reached"] != missed
        assert one["operating_point"]["exact"] != bool(point)


def test_the_recall_of_codes_is_measured_and_reported(
    with_vectors: dict[str, Any], engine_in_time: str, tmp_path: Path
) -> None:
    index = {"factory": "IVF16,PQ16x4fs", "shard_rows": 200}
    reports = []
    for name, search in (("tuned", {}), ("set", {"nprobe": 1, "refine_factor": 1})):
        config = configuration(
            tmp_path / name, None, None, data=with_vectors, index=index, search=search, engine={"name": engine_in_time}
        )
        run(config)
        reports.append(json.loads((tmp_path / name / "report" / "report.json").read_text(encoding="utf-8")))
    tuned, fixed = (report["search"]["recall"] for report in reports)
    assert tuned["reached"]
    assert tuned["below"] >= 0.95
    assert not fixed["reached"]
    assert fixed["recall"] < 0.95
    assert "what would" in fixed["why"]
    assert any("recall" in warning for warning in reports[1]["warnings"])
