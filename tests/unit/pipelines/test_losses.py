from pipelines.losses import losses


def test_a_stage_that_drops_most_rows_is_named_with_the_reason() -> None:
    manifest = {"rows_in": 100, "dropped": {"too_few_words": 60, "empty_text": 10}}
    assert losses("prepare/corpus", manifest) == ["prepare/corpus: too_few_words dropped 60 of 100 rows"]


def test_queries_of_other_splits_and_candidates_not_drawn_are_no_loss() -> None:
    assert not losses("prepare/queries", {"rows_in": 100, "dropped": {"query_not_judged": 90}})
    selected = {"pairs": 10, "short_rows": 1, "empty_rows": 0, "dropped": {"not_drawn": 900, "positive": 10}}
    assert not losses("select", selected)


def test_mostly_short_rows_name_the_filter_that_took_most() -> None:
    selected = {"pairs": 10, "short_rows": 4, "empty_rows": 2, "dropped": {"relative_margin": 900, "max_score": 3}}
    (line,) = losses("select", selected)
    assert "10 (query, positive) pairs: 4 with all negatives, 4 with fewer, 2 with none" in line
    assert "relative_margin" in line


def test_every_round_of_search_that_missed_its_recall_is_named() -> None:
    missed, reached = ({"k": k, "recall": 0.9, "reached": k < 50, "why": "so"} for k in (80, 20))
    everyone = {"rows_in": 10, "dropped": {}, "recall": missed}
    assert losses("search/all", everyone) == ["search/all: recall@80 0.900; so"]
    deeper = {"rows_in": 5, "dropped": {}, "rounds": [{"recall": one} for one in (reached, None, missed)]}
    assert losses("search/short", deeper) == ["search/short: recall@80 0.900; so"]


def test_source_files_without_rows_are_counted() -> None:
    manifest = {"rows_in": 10, "dropped": {}, "empty_files": 2}
    assert losses("prepare/corpus", manifest) == ["prepare/corpus: 2 source files have no rows"]
    assert losses("prepare/queries", {**manifest, "empty_files": 1}) == ["prepare/queries: 1 source file has no rows"]
    assert not losses("prepare/corpus", {**manifest, "empty_files": 0})
    named = {**manifest, "first_empty": "/data/a.jsonl"}
    assert losses("prepare/corpus", named) == ["prepare/corpus: 2 source files have no rows (/data/a.jsonl, ...)"]
    (alone,) = losses("prepare/corpus", {**named, "empty_files": 1})
    assert alone == "prepare/corpus: 1 source file has no rows (/data/a.jsonl)"
