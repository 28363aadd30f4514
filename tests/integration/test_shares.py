"""Shares of negatives per domain, label and difficulty: the same on every engine and for any partitions."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.candidates.signals.score_gap import ScoreGap
from operators.keys import keys_of
from pipelines.results import Mined
from pipelines.run import mine
from tests.integration.conftest import configuration, dataset

DOCUMENTS, QUERIES = 300, 90
SAME, OTHER = "domain == query.domain", "year < 250 and domain != query.domain"
DRAWS: list[dict[str, Any]] = [
    {"strategy": "top", "num_negatives": 2, "where": SAME},
    {"strategy": "top", "num_negatives": 1, "source": "uniform", "where": OTHER},
    {"strategy": "random", "num_negatives": 1, "range_min": 5, "range_max": 30},
]
PROPOSERS: list[Any] = [{"proposer": "uniform", "limit": 20}]
ORDER = [(f"{name}_id", "ascending") for name in ("query", "positive", "negative")]


class Taken(ScoreGap):
    """A signal with a name that is taken."""

    gives = "where"


def domain_of(number: int) -> str | None:
    return None if number % 10 == 0 else "abc"[number % 3]


@pytest.fixture(scope="module")
def data(docstrings: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Documents and queries of three domains, some of none; of each query four documents are judged not relevant."""
    folder = tmp_path_factory.mktemp("shares")
    texts = [pair["positive"] for pair in docstrings[:DOCUMENTS]]
    corpus = [
        {"doc_id": f"d{n}", "text": text, "year": n, "domain": domain_of(n), "note": "long " * 20}
        for n, text in enumerate(texts)
    ]
    asked = [
        {"query_id": f"q{n}", "text": docstrings[n]["query"], "domain": "abc"[n % 3] if n % 8 else None}
        for n in range(QUERIES)
    ]
    judged = [{"query_id": f"q{n}", "doc_id": f"d{n}", "score": 1, "label": "right"} for n in range(QUERIES)]
    judged += [
        {"query_id": f"q{n}", "doc_id": f"d{n + 100 + 20 * more}", "score": 0, "label": ("near", "far")[more % 2]}
        for n in range(QUERIES)
        for more in range(4)
    ]
    for name, rows in (("corpus", corpus), ("queries", asked), ("judgements", judged)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in ("corpus", "queries", "judgements")}


def mined_with(
    data: dict[str, str],
    model: Path,
    run: Path,
    select: dict[str, Any],
    rows: int = 64,
    **sections: Any,  # noqa: ANN401
) -> Mined:
    sources: dict[str, Any] = {**data, "partition_rows": rows, "positive_labels": ["right"]}
    return mine(configuration(run, None, model, data=sources, select=select, **sections), progress=False)


def numbers(letter: str, count: int) -> dict[int, int]:
    return {int(key): n for n, key in enumerate(keys_of(pa.array([f"{letter}{n}" for n in range(count)])))}


def test_draws_take_what_meets_their_rule_on_every_engine(
    data: dict[str, str], static_model: Path, tmp_path: Path, engine: str
) -> None:
    select = {"draws": DRAWS, "range_max": 50}
    for name, rows in dict.fromkeys([(engine, 64), ("local", 64), ("local", 1000)]):
        place = tmp_path / f"{name}-{rows}"
        mined = mined_with(data, static_model, place, select, rows, proposers=PROPOSERS, engine={"name": name})
    assert dataset(tmp_path / f"{engine}-64").equals(dataset(tmp_path / "local-64"))
    assert dataset(place).sort_by(ORDER).equals(dataset(tmp_path / "local-64").sort_by(ORDER))
    (stage,) = (tmp_path / f"{engine}-64" / "search" / "signal_where").iterdir()
    assert {path.name for path in stage.iterdir() if path.is_dir()} == {"_units", "signals"}, (
        "no temporary file is left"
    )

    document, query = numbers("d", DOCUMENTS), numbers("q", QUERIES)
    met: dict[str, Counter[int]] = defaultdict(Counter)
    for row in mined.output("select", "negatives").to_pylist():
        asked, found = query[row["query_key"]], document[row["doc_key"]]
        domains = ("abc"[asked % 3] if asked % 8 else None, domain_of(found))
        met[row["draw"]][asked] += 1
        if row["draw"] != "random":
            assert None not in domains
            assert (domains[0] == domains[1]) == (row["draw"] == "top (1)")
        if row["draw"] == "top (2)":
            assert found < 250
            assert "uniform" in row["sources"]
    assert all(asked % 8 for draw in ("top (1)", "top (2)") for asked in met[draw]), "a query without a domain has none"
    assert all(met["top (1)"][asked] == 2 for asked in range(QUERIES) if asked % 8)
    assert sum(met["top (2)"].values()) > 60
    assert set(met["random"].values()) == {1}

    # The best two of the same domain that the search found: it is exact, so what is drawn at random is no better.
    candidates = mined.output("search/all", "candidates").to_pylist()
    best: dict[int, list[int]] = defaultdict(list)
    for row in sorted(candidates, key=lambda one: (-one["score"], one["doc_key"])):
        asked, found = query[row["query_key"]], document[row["doc_key"]]
        if row["positive_kind"] == 0 and asked % 8 and domain_of(found) == "abc"[asked % 3]:
            best[asked].append(found)
    taken: dict[int, list[int]] = defaultdict(list)
    for row in mined.output("select", "negatives").to_pylist():
        if row["draw"] == "top (1)":
            taken[query[row["query_key"]]].append(document[row["doc_key"]])
    enough = {asked for asked, of in best.items() if len(of) > 1}
    assert len(enough) > 70
    assert {asked: taken[asked] for asked in enough} == {asked: best[asked][:2] for asked in enough}
    assert mined.report["rules"].keys() == {SAME, OTHER}
    by_draw = Counter(row["draw"] for row in mined.output("select", "negatives").to_pylist())
    assert {name: one["taken"] for name, one in mined.report["draws"].items()} == by_draw


def test_a_changed_rule_repeats_only_the_rules_and_the_selection(
    data: dict[str, str], static_model: Path, tmp_path: Path
) -> None:
    def reused(where: str | None) -> tuple[dict[str, bool], bool]:
        draw = {"strategy": "top", "num_negatives": 2, **({"where": where} if where else {})}
        stages = mined_with(data, static_model, tmp_path, {"draws": [draw], "range_max": 50}).stages
        return {side: one["reused"] for side, one in stages["search"]["sides"].items()}, stages["select"]["reused"]

    reused(SAME)
    assert reused("domain != query.domain") == ({"all": True, "short": True, "signal_where": False}, False)
    assert reused(SAME) == ({"all": True, "short": True, "signal_where": True}, True)
    assert reused(None) == ({"all": True, "short": True}, False), "without a rule nothing is evaluated"


def test_metadata_that_nothing_has_and_rules_that_nothing_meets_are_warned_of(
    data: dict[str, str], static_model: Path, tmp_path: Path
) -> None:
    rules = ["domian == 'a' or year < 300", "year < query.date", "year > 1000"]
    draws = [{"strategy": "top", "num_negatives": 1, "where": rule} for rule in rules]
    mined = mined_with(data, static_model, tmp_path, {"draws": draws, "range_max": 50})
    found = [line for line in mined.report["warnings"] if "select.draws" in line]
    assert [line.partition("select.draws.")[2] for line in found] == [
        "0.where: no candidate has the metadata 'domian' that the rule names",
        "1.where: no query has the metadata 'date' that the rule names",
        "1.where: no candidate meets 'year < query.date'",
        "2.where: no candidate meets 'year > 1000'",
    ]
    assert mined.report["pairs"]["short_rows"] == QUERIES
    assert "where" not in mined.dropped, "the first rule holds for every candidate"


def test_judged_negatives_have_shares_by_their_label(data: dict[str, str], static_model: Path, tmp_path: Path) -> None:
    """One near and two far of each query, of the two and two that were judged; the two far make a row full."""
    proposers = [{"proposer": "explicit", "labels": [label], "source": label} for label in ("near", "far")]
    draws = [
        {"strategy": "top", "num_negatives": 1, "source": "near"},
        {"strategy": "random", "num_negatives": 2, "source": "far"},
    ]
    mined = mined_with(data, static_model, tmp_path, {"draws": draws, "range_max": 50}, proposers=proposers)
    document, query = numbers("d", DOCUMENTS), numbers("q", QUERIES)
    found = Counter[tuple[str, int]]()
    for row in mined.output("select", "negatives").to_pylist():
        asked, place = query[row["query_key"]], document[row["doc_key"]]
        label = ("near", "far")[(place - asked - 100) // 20 % 2]
        assert (place - asked - 100) % 20 == 0
        assert row["draw"] == {"near": "top", "far": "random"}[label]
        found[label, asked] += 1
    assert found == {(label, n): count for label, count in (("near", 1), ("far", 2)) for n in range(QUERIES)}


def test_with_short_rows_dropped_the_ratio_is_exact(data: dict[str, str], static_model: Path, tmp_path: Path) -> None:
    """Every eighth query has no domain, so its row lacks two of four negatives."""
    draws = [DRAWS[0], {"strategy": "top", "num_negatives": 2}]
    formats = {"formats": ["labeled-pair", "n-tuple"]}
    without = -(-QUERIES // 8)
    for kept in ("keep", "drop"):
        select = {"draws": draws, "range_max": 50, "short_rows": kept}
        mined = mined_with(data, static_model, tmp_path, select, export=formats)
        labels = Counter(dataset(tmp_path, "labeled-pair")["label"].to_pylist())
        assert dataset(tmp_path, "n-tuple").num_rows == QUERIES - without
        if kept == "keep":
            assert labels == {1: QUERIES, 0: 4 * QUERIES - 2 * without}
            assert mined.report["pairs"] == {"pairs": QUERIES, "short_rows": without, "empty_rows": 0}
    assert labels == {1: QUERIES - without, 0: 4 * (QUERIES - without)}
    assert mined.report["pairs"] == {"pairs": QUERIES, "short_rows": 0, "empty_rows": without}
    assert (mined.dropped["short_row"], mined.report["rows_given_back"]) == (2 * without, without)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"select": {"draws": [{"strategy": "top", "where": "year <"}]}}, "where: .*is no rule"),
        ({"select": {"draws": [{"strategy": "top", "where": "f(x) == 1"}]}}, "neither a field"),
        ({"select": {"short_rows": "fill"}}, "short_rows"),
        ({"signals": ["tests.integration.test_shares:Taken"]}, "two signals 'where'"),
    ],
)
def test_wrong_shares_are_refused_at_start(sections: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=said):
        configuration(tmp_path, None, Path("model"), **{"data": {"beir": "folder"}, **sections})
