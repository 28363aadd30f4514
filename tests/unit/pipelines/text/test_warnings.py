"""Stages that lose most of what they got say so: a wrong column, a wrong marker, too strict a margin."""

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
    dropped = {"not_drawn": 9000, "relative_margin": 900, "max_score": 3}
    (line,) = SELECT.warnings({"pairs": 10, "short_rows": 4, "empty_rows": 2, "dropped": dropped})
    assert "10 (query, positive) pairs: 4 with all negatives, 4 with fewer, 2 with none" in line
    assert "relative_margin" in line


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
