"""Stages that lose most of what they got say so: a wrong column, a wrong marker, too strict a margin."""

from typing import Any

import pytest

from operators.candidates.config import SelectConfig
from operators.documents.clean import CleanConfig
from operators.vectors.search import SearchConfig
from pipelines.runtime.engines import Pool
from pipelines.runtime.storage.cache import Cache
from pipelines.text.stages.prepare_corpus import PrepareCorpus
from pipelines.text.stages.prepare_queries import PrepareQueries
from pipelines.text.stages.search.all import SearchShards
from pipelines.text.stages.search.shards import SearchPool
from pipelines.text.stages.search.short import SearchDeeper
from pipelines.text.stages.select import SelectNegatives

CORPUS = PrepareCorpus([], CleanConfig(), "auto")
QUERIES = PrepareQueries([], [], CleanConfig(), "refuse", "auto")
SELECT = SelectNegatives(SelectConfig())
SEARCHERS = SearchPool(Pool(), "cpu", Cache("cache", 0))


def test_a_stage_that_drops_most_rows_names_the_reason() -> None:
    manifest = {"rows_in": 100, "dropped": {"too_few_words": 60, "empty_text": 10}}
    assert CORPUS.warnings(manifest) == ["too_few_words dropped 60 of 100 rows"]


def test_queries_of_other_splits_and_candidates_not_drawn_are_no_loss() -> None:
    assert not QUERIES.warnings({"rows_in": 100, "dropped": {"query_not_judged": 90}})
    assert QUERIES.warnings({"rows_in": 100, "dropped": {"query_empty_text": 90}})
    selected = {"pairs": 10, "short_rows": 1, "empty_rows": 0, "dropped": {"not_drawn": 900, "positive": 10}}
    assert not SELECT.warnings(selected)


def test_mostly_short_rows_name_the_filter_that_took_most() -> None:
    dropped = {"relative_margin": 900, "max_score": 3, "rows": 6, "wanting": 12}
    short = {"pairs": 10, "short_rows": 4, "empty_rows": 2, "short_draws": {"top": dropped}}
    (line,) = SELECT.warnings(short)
    assert "10 (query, positive) pairs: 4 with all negatives, 4 with fewer, 2 with none" in line
    assert line.endswith("Most were dropped by relative_margin: loosen it, or raise search.k.")


@pytest.mark.parametrize(("limit", "expected", "missed"), [(0.005, 3.0, True), (0.005, 1.0, False), (0.02, 3.0, False)])
def test_a_target_that_no_limit_meets_is_said(limit: float, expected: float, missed: bool) -> None:
    stage = SelectNegatives(SelectConfig(target_false_negative_rate=0.02))
    full: dict[str, float] = {"pairs": 10, "short_rows": 0, "empty_rows": 0, "different_negatives": 100}
    full |= {"max_false_negative_probability": limit, "expected_false_negatives": expected}
    said = stage.warnings(full)
    assert [line.startswith("select.target_false_negative_rate: 0.02 is not met") for line in said] == [True] * missed


@pytest.mark.parametrize(
    ("select", "became", "said"),
    [
        ({"max_rows_per_document": 1, "range_max": 4}, {"max_rows_per_document": 40}, "raise range_max."),
        ({"max_rows_per_document": 1, "range_max": 9}, {"max_rows_per_document": 40}, "raise it, or raise search.k."),
        ({"range_max": 4}, {"negative": 10}, "There are too few candidates: raise search.k."),
        ({"range_max": 4}, {"negative": 10, "not_drawn": 30, "range_max": 5}, "too small: raise range_max."),
        ({"filters": [{"filter": "max_rank", "limit": 4}]}, {"max_rank": 90}, "dropped by max_rank: loosen it."),
        ({"draws": [{"strategy": "top", "source": "explicit"}]}, {"negative": 10, "max_score": 2},
         "The source 'explicit' named too few: lower num_negatives, or add a draw with `fill: true`."),
        ({"draws": [{"strategy": "top", "source": "explicit"}]}, {"max_score": 90}, "dropped by max_score: loosen it."),
        ({"max_false_negative_probability": 0.1}, {"max_false_negative_probability": 90},
         "loosen it, or raise search.k."),
        ({"target_false_negative_rate": 0.1}, {"max_false_negative_probability": 90},
         "limit that target_false_negative_rate gives: raise the rate, or raise search.k."),
        ({"draws": [{"strategy": "top", "where": "a == 1"}]}, {"where": 90}, "loosen the rule, or raise search.k."),
        ({"draws": [{"strategy": "top", "where": "a == 1"}]}, {"not_drawn": 90}, "Too few candidates meet 'a == 1'"),
    ],
)  # fmt: skip
def test_short_rows_are_said_with_a_remedy_that_helps(
    select: dict[str, Any], became: dict[str, int], said: str
) -> None:
    stage = SelectNegatives(SelectConfig.model_validate(select))
    counts = {**became, "rows": 10, "wanting": 30}
    of_rows = {"pairs": 10, "short_rows": 10, "empty_rows": 0, "different_negatives": 0}
    (line,) = stage.warnings({**of_rows, "short_draws": {"top": counts}})
    assert said in line


def test_every_round_of_search_that_missed_its_recall_is_named() -> None:
    missed, reached = ({"k": k, "recall": 0.9, "reached": k < 50, "why": "so"} for k in (80, 20))
    everyone = {"rows_in": 10, "dropped": {}, "recall": missed}
    assert SearchShards(SearchConfig(), SEARCHERS).warnings(everyone) == ["recall@80 0.900; so"]
    deeper = {"rows_in": 5, "dropped": {}, "rounds": [{"recall": one} for one in (reached, None, missed)]}
    assert SearchDeeper(SearchConfig(), SelectConfig(), SEARCHERS).warnings(deeper) == ["recall@80 0.900; so"]


def test_source_files_without_rows_are_counted() -> None:
    manifest = {"rows_in": 10, "dropped": {}, "empty_files": 2}
    assert CORPUS.warnings(manifest) == ["2 source files have no rows"]
    assert QUERIES.warnings({**manifest, "empty_files": 1}) == ["1 source file has no rows"]
    assert not CORPUS.warnings({**manifest, "empty_files": 0})
    named = {**manifest, "first_empty": "/data/a.jsonl"}
    assert CORPUS.warnings(named) == ["2 source files have no rows (/data/a.jsonl, ...)"]
    assert CORPUS.warnings({**named, "empty_files": 1}) == ["1 source file has no rows (/data/a.jsonl)"]
