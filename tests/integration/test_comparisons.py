"""Candidates that have something in common with a positive are dropped with a reason, the same ones on every engine."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from operators.keys import keys_of
from pipelines.results import Mined
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration, dataset, write_collection

COPIES, LIMIT = 40, 0.5
PAGES, GROUPED = 90, [{"filter": "same_group", "field": "page"}]


@pytest.fixture(scope="module")
def with_copies(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """The collection, with a copy of the first positive of some queries in which every twelfth word is another."""
    copies = {f"c{n}": with_other_words(collection.documents[f"d{n}"]) for n in range(COPIES)}
    folder = tmp_path_factory.mktemp("copies") / "beir"
    documents = {**collection.documents, **copies}
    written = write_collection(folder, documents, collection.queries, collection.judgements)
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "page": page_of(row["_id"])}) + "\n" for row in rows]
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    return written


def page_of(document: str) -> int | None:
    """Every third document is on no page, and no copy is."""
    number = int(document[1:])
    return number % PAGES if document[0] == "d" and number % 3 else None


def with_other_words(text: str) -> str:
    return " ".join("another" if n % 12 == 7 else word for n, word in enumerate([*text.split(), "it", "says"]))


def shared(first: str, second: str) -> float:
    """The resemblance, by sets."""
    data = [" ".join(text.casefold().split()).encode() for text in (first, second)]
    sets = [{one[at : at + 8] for at in range(max(len(one) - 7, 1))} for one in data]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def by_key(by_id: dict[str, Any]) -> dict[int, Any]:
    return dict(zip(keys_of(pa.array(list(by_id))).tolist(), by_id.values(), strict=True))


def mined(place: Path, data: Collection, model: Path, **sections: Any) -> Mined:  # noqa: ANN401
    return mine(configuration(place, data, model, **sections), progress=False)


def test_near_copies_of_positives_and_their_groups_are_suspected(
    with_copies: Collection, static_model: Path, tmp_path: Path, engine: str
) -> None:
    sections: dict[str, Any] = {
        "proposers": [{"proposer": "uniform", "limit": 5}],
        "select": {"max_positive_resemblance": LIMIT, "filters": GROUPED, "range_max": 50},
    }
    of_engine = mined(tmp_path / engine, with_copies, static_model, **sections, engine={"name": engine})
    if engine != "local":
        mined(tmp_path / "local", with_copies, static_model, **sections)
        assert dataset(tmp_path / engine).equals(dataset(tmp_path / "local"))
    assert not list((tmp_path / engine).glob("search/signal_*/*/wanted")), "what is temporary is removed"

    texts = by_key(with_copies.documents)
    positives = by_key({query: [d for d, score in of.items() if score] for query, of in with_copies.judgements.items()})
    signals = of_engine.output("search/signal_max_positive_resemblance", "signals").to_pylist()
    for one in signals[::7]:
        judged = [with_copies.documents[document] for document in positives[one["query_key"]]]
        exact = max(shared(texts[one["doc_key"]], text) for text in judged)
        assert one["max_positive_resemblance"] == pytest.approx(exact, abs=0.25)

    copy_of = by_key({f"c{n}": f"d{n}" for n in range(COPIES)})
    rows = {
        kind: [one for one in table.to_pylist() if copy_of.get(one["doc_key"]) in positives[one["query_key"]]]
        for kind, table in (("suspected", of_engine.suspected), ("negatives", of_engine.output("select", "negatives")))
    }
    assert len({one["doc_key"] for one in rows["suspected"]}) > COPIES / 2
    assert {one["reason"] for one in rows["suspected"]} == {"max_positive_resemblance"}
    assert all(
        shared(texts[one["doc_key"]], with_copies.documents[copy_of[one["doc_key"]]]) < LIMIT + 0.1
        for one in rows["negatives"]
    )
    dropped = [of_engine.dropped[reason] for reason in ("max_positive_resemblance", "same_group")]
    assert min(dropped) > 0
    assert of_engine.suspected.num_rows == sum(dropped)


def test_another_limit_repeats_the_selection_alone(with_copies: Collection, static_model: Path, tmp_path: Path) -> None:
    """Without a limit nothing is compared."""
    first = mined(tmp_path, with_copies, static_model, select={"max_positive_resemblance": LIMIT})
    again = mined(tmp_path, with_copies, static_model, select={"max_positive_resemblance": 0.9})
    assert again.stages["search"]["reused"]
    assert not again.stages["select"]["reused"]
    dropped = [one.dropped.get("max_positive_resemblance", 0) for one in (first, again)]
    assert dropped[0] > dropped[1]
    without = mined(tmp_path, with_copies, static_model, select={})
    assert set(without.stages["search"]["sides"]) == {"all", "short"}


def test_groups_of_positives_are_kept_out(with_copies: Collection, static_model: Path, tmp_path: Path) -> None:
    """A field that no document has is named in a warning."""
    filters = [*GROUPED, {"filter": "same_group", "field": "nothing"}]
    run = mined(tmp_path, with_copies, static_model, select={"filters": filters, "range_max": 50})
    names = by_key({document: document for document in with_copies.documents})
    positives = by_key({query: [d for d, score in of.items() if score] for query, of in with_copies.judgements.items()})
    dropped = 0
    for kind in ("negatives", "suspected"):
        for one in run.output("select", kind).to_pylist():
            page = page_of(names[one["doc_key"]])
            shared = page is not None and page in map(page_of, positives[one["query_key"]])
            assert shared == (one["reason"] == "same_group")
            dropped += shared
    assert dropped == run.dropped["same_group"] > 100
    said = "select.filters.1.field: no candidate has the metadata 'nothing'"
    assert [line for line in run.report["warnings"] if "filters" in line] == [f"search/signal_same_group: {said}"]


def pages_of(documents: pa.Table) -> list[str | None]:
    """What the field `page` holds, by a function."""
    pages = [json.loads(one or "{}").get("page") for one in documents["metadata"].to_pylist()]
    return [None if page is None else f"page {page}" for page in pages]


def test_a_function_groups_as_the_field_does_that_it_reads(
    with_copies: Collection, static_model: Path, tmp_path: Path
) -> None:
    by_function = [{"filter": "same_group", "function": f"{__name__}:pages_of"}]
    runs = [
        mined(tmp_path / name, with_copies, static_model, select={"filters": filters})
        for name, filters in (("field", GROUPED), ("function", by_function))
    ]
    assert dataset(tmp_path / "field").equals(dataset(tmp_path / "function"))
    assert runs[0].dropped["same_group"] == runs[1].dropped["same_group"] > 0
