"""Compare what a run wrote with what it had to give."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.fuzz.collection import Document, Query, key_of, read_as
from tests.fuzz.interpret import AnyOf
from tests.fuzz.oracle import SUSPECTED, Mined, Row

CANDIDATE_REASONS = (
    *(*SUSPECTED, "positive", "min_score", "max_rank", "range_max", "where"),
    *("max_rows_per_document", "short_row", "not_drawn"),
)
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """A document or query as it stands in the training data; None is what a format does not have."""

    name: str
    text: str
    score: float | None = None
    metadata: Any = None
    has_metadata: bool = True


@dataclass(frozen=True)
class Group:
    """A (query, positive) with its negatives, as a format has them."""

    query: Written
    positive: Written
    negatives: tuple[Written, ...]


def dataset_rows(run: Path, layout: str) -> list[Record]:
    """Read the training data of one format."""
    folder = run / "dataset" / layout
    rows: list[Record] = []
    for path in sorted(folder.iterdir()):
        rows += _rows_of(path)
    return rows


def _rows_of(path: Path) -> list[Record]:
    if path.suffix == ".parquet":
        rows: list[Record] = pq.ParquetFile(path).read().to_pylist()
        return rows
    if path.suffix != ".jsonl":
        return []
    return [json.loads(line, parse_constant=_refuse) for line in path.read_text("utf-8").split("\n") if line]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def group_indices(layout: str, rows: Sequence[Record]) -> list[Group]:
    """Lay any format but labeled-pair out as groups."""
    return list(_GROUPS[layout](rows))


def _metadata(value: str | None) -> Any:  # noqa: ANN401 - JSON
    return None if value is None else json.loads(value, parse_constant=_refuse)


def _triplets(rows: Sequence[Record]) -> Iterator[Group]:
    found: dict[tuple[str, str], list[Record]] = {}
    for row in rows:
        found.setdefault((row["query_id"], row["positive_id"]), []).append(row)
    for some in found.values():
        negatives = [_written(row, "negative", "") for row in some]
        negatives.sort(key=lambda one: (-(one.score or 0), key_of(one.name)))
        yield Group(_written(some[0], "query", ""), _written(some[0], "positive", ""), tuple(negatives))


def _n_tuples(rows: Sequence[Record]) -> Iterator[Group]:
    for row in rows:
        numbers = [name.removeprefix("negative_") for name in row if name.startswith("negative_")]
        negatives = [_written(row, "negative", f"_{n}") for n in numbers if n.isdigit()]
        yield Group(_written(row, "query", ""), _written(row, "positive", ""), tuple(negatives))


def _written(row: Record, side: str, number: str) -> Written:
    return Written(
        row[f"{side}_id{number}"],
        row[f"{side}{number}"],
        row.get(f"{side}_score{number}"),
        _metadata(row[f"{side}_metadata{number}"]),
    )


def _lists(rows: Sequence[Record]) -> Iterator[Group]:
    for row in rows:
        names = ("document_ids", "documents", "document_scores", "document_metadata")
        cells = zip(*(row[name] for name in names), strict=True)
        cells_of_row = [Written(name, text, score, _metadata(metadata)) for name, text, score, metadata in cells]
        if row["labels"] != [1] + [0] * (len(cells_of_row) - 1):
            raise ValueError(f"labels {row['labels']}")
        yield Group(_written(row, "query", ""), cells_of_row[0], tuple(cells_of_row[1:]))


def _flagembedding(rows: Sequence[Record]) -> Iterator[Group]:
    for row in rows:
        sides = {}
        for side in ("pos", "neg"):
            names = (f"{side}_id", side, f"{side}_scores")
            cells = zip(*(row[one] for one in names), strict=True)
            sides[side] = [Written(name, text, score, has_metadata=False) for name, text, score in cells]
        query = Written(row["query_id"], row["query"], has_metadata=False)
        yield Group(query, sides["pos"][0], tuple(sides["neg"]))


def _tevatron(rows: Sequence[Record]) -> Iterator[Group]:
    for row in rows:
        sides = [
            [Written(one["docid"], one["text"], has_metadata=False) for one in row[f"{side}_passages"]]
            for side in ("positive", "negative")
        ]
        yield Group(Written(row["query_id"], row["query"], has_metadata=False), sides[0][0], tuple(sides[1]))


_GROUPS = {
    "triplet": _triplets,
    "n-tuple": _n_tuples,
    "labeled-list": _lists,
    "flagembedding": _flagembedding,
    "tevatron": _tevatron,
}


def apart(run: Path, layout: str) -> list[str]:
    """Check that between two rows of a query stands one of each other query that has as many rows or more."""
    for path in sorted((run / "dataset" / layout).iterdir()):
        places: dict[str, list[int]] = {}
        for place, row in enumerate(_rows_of(path)):
            places.setdefault(row["query_id"], []).append(place)
        for query, own in places.items():
            others = [some for name, some in places.items() if name != query and len(some) >= len(own)]
            for before, after in pairwise(own):
                if not all(any(before < one < after for one in some) for some in others):
                    return [f"{layout}: rows {before} and {after} of {path.name} are of {query!r}: too close"]
    return []


def compare(run: Path, result: Mapping[str, Any], mined: Mined, formats: Sequence[str]) -> list[str]:
    """Say in what the result of a run differs from what it had to give."""
    faults = _counts(result, mined) + _suspected(result, mined)
    for layout in formats:
        rows = dataset_rows(run, layout)
        if layout == "labeled-pair":
            faults += _pairs(rows, mined)
            continue
        wanted = [row for row in mined.rows if row.eligible]
        if layout == "n-tuple":
            wanted = [row for row in wanted if len(row.chosen) == mined.settings.num_negatives]
        faults += [f"{layout}: {fault}" for fault in _groups(group_indices(layout, rows), wanted, mined)]
    return faults[:5]


def _counts(result: Mapping[str, Any], mined: Mined) -> list[str]:
    dropped, wanted = ({k: n for k, n in one.items() if n} for one in (result["dropped"], dict(mined.dropped)))
    if dropped != wanted:
        return [
            f"dropped: {dict(dropped.items() - wanted.items())}, and should be {dict(wanted.items() - dropped.items())}"
        ]
    return accounts(result)


def accounts(result: Mapping[str, Any]) -> list[str]:
    """Check that what was found is what was chosen and all that was dropped."""
    select = result["stages"]["select"]
    dropped = sum(count for reason, count in result["dropped"].items() if reason in CANDIDATE_REASONS)
    if select["rows_in"] != select["rows_out"] + dropped:
        return [f"{select['rows_in']} found are not {select['rows_out']} chosen and {dropped} dropped"]
    return []


def _suspected(result: Mapping[str, Any], mined: Mined) -> list[str]:
    found = []
    for path in sorted(Path(result["outputs"]["suspected"]).glob("*.parquet")):
        rows = pq.ParquetFile(path).read().to_pylist()
        found += [(row["query_key"], row["positive_key"], row["doc_key"], row["reason"]) for row in rows]
    wanted = [
        (key_of(row.query.query_id), key_of(row.positive.doc_id), key_of(name), reason)
        for row in mined.rows
        for name, reason in row.suspected
    ]
    return [] if sorted(found) == sorted(wanted) else [f"{len(found)} suspected, and should be {len(wanted)}"]


def _groups(groups: Sequence[Group], wanted: Sequence[Row], mined: Mined) -> list[str]:
    by_name = {(row.query.query_id, row.positive.doc_id): row for row in wanted}
    names = [(group.query.name, group.positive.name) for group in groups]
    if sorted(names) != sorted(by_name):
        return [f"rows of {sorted(set(names) - set(by_name))[:3]}, and not of {sorted(set(by_name) - set(names))[:3]}"]
    return [fault for group, name in zip(groups, names, strict=True) for fault in _group(group, by_name[name], mined)]


def _group(group: Group, row: Row, mined: Mined) -> list[str]:
    names = [one.name for one in group.negatives]
    own = f"{row.query.query_id!r}, {row.positive.doc_id!r}"
    chosen = [one.document.doc_id for one in row.chosen]
    if mined.settings.sampling_strategy == "random":
        eligible = {one.document.doc_id for one in row.eligible}
        if len(names) != len(chosen) or len(set(names)) < len(names) or not set(names) <= eligible:
            return [f"{own}: drawn {names} of {sorted(eligible)}"]
    elif names != chosen:
        return [f"{own}: negatives {names}, and should be {chosen}"]
    by_name = {one.document.doc_id: one for one in row.eligible}
    faults = _same(group.query, row.query, None) + _same(group.positive, row.positive, row.positive_score)
    for one in group.negatives:
        faults += _same(one, by_name[one.name].document, by_name[one.name].score)
    return [f"{own}: {fault}" for fault in faults]


def _same(written: Written, wanted: Document | Query, score: float | None) -> list[str]:
    faults = []
    if written.text != wanted.text:
        faults.append(f"the text of {written.name!r} is {written.text!r}, and should be {wanted.text!r}")
    if written.score is not None and score is not None and abs(written.score - score) > 1e-4 + 1e-5 * abs(score):
        faults.append(f"the score of {written.name!r} is {written.score}, and should be {score}")
    allowed = wanted.metadata.values if isinstance(wanted.metadata, AnyOf) else [wanted.metadata]
    if written.has_metadata and written.metadata not in json.loads(json.dumps(allowed)):
        faults.append(f"the metadata of {written.name!r} is {written.metadata}, and should be {wanted.metadata}")
    return faults


def _pairs(rows: Sequence[Record], mined: Mined) -> list[str]:
    found = [(row["query_id"], row["document_id"], row["label"]) for row in rows]
    if len(set(found)) < len(found):
        return ["labeled-pair: a pair is repeated"]
    wanted: set[tuple[str, str, int]] = set()
    possible: set[tuple[str, str, int]] = set()
    for row in mined.rows:
        if row.eligible:
            wanted.add((row.query.query_id, row.positive.doc_id, 1))
            wanted.update((row.query.query_id, one.document.doc_id, 0) for one in row.chosen)
            possible.update((row.query.query_id, one.document.doc_id, 0) for one in row.eligible)
    if mined.settings.sampling_strategy == "random":
        positives = {one for one in wanted if one[2]}
        right = positives == {one for one in found if one[2]} and set(found) <= positives | possible
    else:
        right = set(found) == wanted
    if not right:
        return [f"labeled-pair: {sorted(set(found) - wanted)[:3]}, and not {sorted(wanted - set(found))[:3]}"]
    texts = {row.positive.doc_id: row.positive.text for row in mined.rows}
    texts.update({one.document.doc_id: one.document.text for row in mined.rows for one in row.eligible})
    wrong = [row for row in rows if row["document"] != texts[row["document_id"]]]
    return [f"labeled-pair: the text of {wrong[0]['document_id']!r} is {wrong[0]['document']!r}"] if wrong else []


def promises(run: Path, result: Mapping[str, Any], formats: Sequence[str]) -> list[str]:
    """Check what holds for any input: no negative is or reads like a positive, nothing is repeated, all is counted."""
    faults = accounts(result)
    for layout in formats:
        faults += apart(run, layout)
        rows = dataset_rows(run, layout)
        if layout == "labeled-pair":
            continue
        positives: dict[str, list[Written]] = {}
        groups = group_indices(layout, rows)
        for group in groups:
            positives.setdefault(group.query.name, []).append(group.positive)
        for group in groups:
            names = [one.name for one in group.negatives]
            ids = {one.name for one in positives[group.query.name]}
            texts = {read_as(one.text) for one in positives[group.query.name]}
            if len(set(names)) < len(names) or ids & set(names):
                faults.append(f"{layout}: {group.query.name!r} has negatives {names} beside positives {sorted(ids)}")
            if any(read_as(one.text) in texts for one in group.negatives):
                faults.append(f"{layout}: a negative of {group.query.name!r} reads like a positive")
    return faults[:5]


def records_of(run: Path, stage: str, kind: str) -> list[dict[str, Any]]:
    """Read what a stage left of a kind, in the order of its partitions."""
    paths = sorted((run / stage).glob(f"*/{kind}/*.parquet"))
    return [record for path in paths for record in pq.ParquetFile(path).read().to_pylist()]
