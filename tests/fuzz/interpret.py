"""What the rows of a source say, by the documentation: documents, queries and judgements, or that they are refused."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.fuzz.collection import Collection, Document, Judgement, Query, RefusedError, Vector, key_of, read_as
from tests.fuzz.generate import Encoder, Similarity, kept

LARGEST_FLOAT16 = 65_504
BEYOND_FLOAT16 = "a value beyond float16"
NEEDED = {
    "corpus": ("doc_id", "text"),
    "queries": ("query_id", "text"),
    "judgements": ("query_id", "doc_id"),
    "pairs": ("query", "positive"),
}
Row = Mapping[str, Any]


class UnsureError(Exception):
    """The documentation does not say what is done with such a source."""


@dataclass(frozen=True)
class AnyOf:
    """Any of some values would do."""

    values: Sequence[Any]


@dataclass
class Source:
    """The rows of one kind, as they were written or read again.

    Attributes:
        roles: role -> column.
        files: the rows of each file.
        names: the columns of each file; those of its rows, where None.
        positive_labels: which labels are positive, where judgements have labels and no scores.
    """

    kind: str
    roles: dict[str, str]
    files: list[list[Row]]
    names: list[Sequence[str] | None] = field(default_factory=list)
    positive_labels: Sequence[str] | None = None


def collection_of(sources: Mapping[str, Source], similarity: Similarity, encoder: Encoder) -> Collection:
    """Say what sources hold.

    Raises:
        RefusedError: they must be refused.
        UnsureError: they may be.
    """
    for source in sources.values():
        _check_columns(source)
    if "pairs" in sources:
        return _of_pairs(sources["pairs"], encoder)
    vectors = {kind: _vectors(sources[kind], similarity) for kind in ("corpus", "queries")}
    documents, titles = _items(sources["corpus"], "doc_id")
    queries, _ = _items(sources["queries"], "query_id")
    given = {kind: matrix for kind, matrix in vectors.items() if matrix is not None}
    if len(given) == 2 and given["corpus"].shape[1] != given["queries"].shape[1]:
        raise RefusedError("vectors of two lengths")
    judged = _judgements(sources["judgements"])
    asked = _encoded(encoder, vectors["queries"], [text for _, text, _ in queries], "query")
    whole = [
        f"{title or ''} {text}" if title is not None else text
        for (_, text, _), title in zip(documents, titles, strict=True)
    ]
    held = _encoded(encoder, vectors["corpus"], [text.strip() for text in whole], "document")
    collected = _of_each(queries)
    return Collection(
        [Document(name, text, metadata, held[i], titles[i]) for i, (name, text, metadata) in enumerate(documents)],
        [Query(name, text, _together(collected[name]), asked[i]) for i, (name, text, _) in enumerate(queries)],
        judged,
    )


def _of_each(queries: Sequence[tuple[str, str, Any]]) -> dict[str, list[Any]]:
    """Return the metadata of all rows of each query."""
    collected: dict[str, list[Any]] = {}
    for name, _, metadata in queries:
        collected.setdefault(name, []).append(metadata)
    return collected


def _encoded(encoder: Encoder, given: Vector | None, texts: Sequence[str], side: Any) -> Vector:  # noqa: ANN401
    return encoder(texts, side) if given is None else given


def _check_columns(source: Source) -> None:
    for rows, names in zip(source.files, source.names or [None] * len(source.files), strict=True):
        if not rows:
            raise RefusedError(f"{source.kind}: a file without rows")
        there = list(dict.fromkeys(name for row in rows for name in row)) if names is None else names
        if len(set(there)) < len(there):
            raise RefusedError(f"{source.kind}: two columns have one name")
        for role, column in source.roles.items():
            if column not in there:
                if role in NEEDED[source.kind] or role == "vector":
                    raise _missing(source, role, there)
                raise UnsureError(f"{source.kind}: no {column}")


def _missing(source: Source, role: str, there: Sequence[str]) -> Exception:
    """Another column that goes by a usual name may be taken for a missing one."""
    usual = {
        "id",
        "_id",
        "pid",
        "qid",
        "docid",
        "query",
        "text",
        "contents",
        "document",
        "passage",
        "question",
        "answer",
    }
    others = set(there) - set(source.roles.values())
    if others & usual:
        return UnsureError(f"{source.kind}: another column for {role}")
    return RefusedError(f"{source.kind}: no column for {role}")


def _items(source: Source, role: str) -> tuple[list[tuple[str, str, Any]], list[str | None]]:
    items, titles = [], []
    for rows in source.files:
        ids = _ids(rows, source.roles[role])
        texts = _texts(rows, source.roles["text"])
        title = source.roles.get("title")
        heads = _texts(rows, title) if title is not None else [""] * len(rows)
        for row, name, text, head in zip(rows, ids, texts, heads, strict=True):
            items.append((name, text, metadata_of(source, row)))
            titles.append(None if title is None else head)
    return items, titles


def _ids(rows: Sequence[Row], column: str) -> list[str]:
    ids = []
    for row in rows:
        value = row.get(column)
        if value is None or value == "":
            raise RefusedError(f"no id in {column}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UnsureError(f"an id {value!r}")
        ids.append(_text(str(value)))
    return ids


def _texts(rows: Sequence[Row], column: str) -> list[str]:
    values = [row.get(column) for row in rows]
    if any(value is not None and not isinstance(value, str) for value in values):
        if not any(isinstance(value, str) for value in values):
            raise RefusedError(f"no texts in {column}")
        raise UnsureError(f"texts and others in {column}")
    return [_text(value or "") for value in values]


def _text(value: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UnsureError("half a letter")
    return value


def metadata_of(source: Source, row: Row) -> Any:  # noqa: ANN401 - JSON
    """Return what the columns without a role hold, None where they hold nothing."""
    taken = {column for role, column in source.roles.items() if role != "title"}
    others = {name: value for name, value in row.items() if name not in taken and not _is_missing(value)}
    nested = others.get("metadata")
    if isinstance(nested, dict) and not nested.keys() & others.keys():
        del others["metadata"]
        others.update({name: value for name, value in nested.items() if not _is_missing(value)})
    return others or None


def _is_missing(value: Any) -> bool:  # noqa: ANN401 - JSON
    return value in (None, "", [], {}) or (isinstance(value, float) and math.isnan(value))


def _vectors(source: Source, similarity: Similarity) -> Vector | None:
    column = source.roles.get("vector")
    if column is None:
        return None
    held, lengths = [], set()
    for rows in source.files:
        for row in rows:
            value = row.get(column)
            if not isinstance(value, list) or not value:
                raise RefusedError("no vector")
            if any(isinstance(one, bool) or not isinstance(one, int | float) for one in value):
                if any(one is None or isinstance(one, str | list | dict) for one in value):
                    raise RefusedError("a vector of something else than numbers")
                raise UnsureError("a vector of booleans")
            lengths.add(len(value))
            held.append(value)
    if len(lengths) > 1:
        raise RefusedError("vectors of several lengths")
    with np.errstate(over="ignore"):
        matrix = np.asarray(held, dtype=np.float64).astype(np.float32)
    if not np.isfinite(matrix).all():
        raise RefusedError("a vector that is not finite")
    if similarity == "dot" and np.abs(matrix).max() >= LARGEST_FLOAT16 + 16:
        raise UnsureError(BEYOND_FLOAT16)  # it matters where its row is kept
    return np.stack([kept(one, similarity) for one in matrix])


def _judgements(source: Source) -> list[Judgement]:
    rows = [row for rows in source.files for row in rows]
    queries, documents = (_ids(rows, source.roles[role]) for role in ("query_id", "doc_id"))
    scores = [1.0] * len(rows)
    if "score" in source.roles:
        scores = [_score(row.get(source.roles["score"])) for row in rows]
    elif "label" in source.roles:
        scores = _scores_of_labels([row.get(source.roles["label"]) for row in rows], source.positive_labels)
    return [Judgement(*one) for one in zip(queries, documents, scores, strict=True)]


def _scores_of_labels(labels: Sequence[Any], positive: Sequence[str] | None) -> list[float]:
    if any(label is None or (isinstance(label, str) and not label.strip()) for label in labels):
        raise RefusedError("a judgement without a label")
    if not all(isinstance(label, str) for label in labels):
        raise UnsureError("labels that are no words")
    if positive is not None:
        if not set(positive) <= set(labels):
            raise RefusedError("a positive label that does not occur")
        return [float(label in positive) for label in labels]
    try:
        scores = [float(np.float32(label)) for label in labels]
    except ValueError:
        raise RefusedError("labels that are words, and nobody said which are positive") from None
    if not all(map(math.isfinite, scores)):
        raise UnsureError("labels such as nan")
    return scores


def _score(value: Any) -> float:  # noqa: ANN401 - a cell
    if isinstance(value, bool):
        raise UnsureError("a score that is true or false")
    try:
        score = float(np.float32(value)) if value is not None else math.nan
    except (ValueError, TypeError, OverflowError):
        raise RefusedError(f"the score {value!r}") from None
    if isinstance(value, str) and value != value.strip(" "):
        raise UnsureError("a score among blanks")
    if isinstance(value, str) and "_" in value:
        raise UnsureError("a score with an underscore")
    if not math.isfinite(score):
        raise RefusedError(f"the score {value!r}")
    return score


def _of_pairs(source: Source, encoder: Encoder) -> Collection:
    documents: list[tuple[str, str]] = []
    queries: list[tuple[str, str, Any]] = []
    judgements: list[Judgement] = []
    for rows in source.files:
        asked = [_asked(source, row) for row in rows]
        queries += [(*one, metadata_of(source, row)) for one, row in zip(asked, rows, strict=True)]
        for side, score in (("positive", 1.0), ("negative", 0.0)):
            for (query_id, _), row in zip(asked, rows, strict=True):
                for name, text in _side(source, row, side):
                    documents.append((name, text))
                    judgements.append(Judgement(query_id, name, score))
    collected = _of_each(queries)
    held = encoder([text.strip() for _, text in documents], "document")
    vectors = encoder([text for _, text, _ in queries], "query")
    return Collection(
        [Document(name, text, None, held[i]) for i, (name, text) in enumerate(documents)],
        [Query(name, text, _together(collected[name]), vectors[i]) for i, (name, text, _) in enumerate(queries)],
        judgements,
    )


def _together(rows: Sequence[Any]) -> Any:  # noqa: ANN401 - JSON
    """Return the metadata of a query of several rows: what differs is the list of its values, in their order."""
    found: dict[str, Any] = {}
    for column in dict.fromkeys(name for row in rows for name in row or {}):
        values: list[Any] = []
        for row in rows:
            value = (row or {}).get(column)
            if json.dumps(value) not in map(json.dumps, values):
                values.append(value)
        found[column] = values[0] if len(values) == 1 else values
    return found or None


def _asked(source: Source, row: Row) -> tuple[str, str]:
    text = row.get(source.roles["query"])
    if text is None:
        raise RefusedError("no query")
    if not isinstance(text, str):
        raise UnsureError("a query that is no text")
    if "query_id" in source.roles:
        return _ids([row], source.roles["query_id"])[0], text
    return named_after(text), text


def _side(source: Source, row: Row, side: str) -> list[tuple[str, str]]:
    column = source.roles.get(side)
    value = None if column is None else row.get(column)
    if side == "positive" and value is None:
        raise RefusedError("no positive")
    texts = value if isinstance(value, list) else [value]
    if any(text is not None and not isinstance(text, str) for text in texts):
        raise UnsureError(f"a {side} that is no text")
    if side == "positive" and "positive_id" in source.roles:
        return [(_ids([row], source.roles["positive_id"])[0], str(texts[0]))]
    return [(named_after(text), text) for text in texts if text is not None]


def named_after(text: str) -> str:
    """Return the id of a document or query that has none."""
    return f"{key_of(read_as(text)):016x}"
