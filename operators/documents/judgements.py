"""Bring queries and judgements together: who is judged, by which documents, and which judgements lead nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.clean import is_empty
from operators.errors import InputError, listed, shown
from operators.keys import keys_of, text_keys_of
from operators.schemas import DROPPED, JUDGEMENTS, QUERIES, to_numpy
from operators.segments import first_index, starts_of

# Judgements as they were read, with the keys of both sides.
READ_JUDGEMENTS = pa.schema(
    {
        "query_id": pa.string(),
        "doc_id": pa.string(),
        "relevance": pa.float32(),
        "label": pa.string(),
        "query_key": pa.int64(),
        "doc_key": pa.int64(),
    }
)


@dataclass(frozen=True)
class Resolved:
    """Queries with a positive and their judgements, and what was left out on the way."""

    queries: pa.Table  # QUERIES, and `vector` where there is one
    judgements: pa.Table  # JUDGEMENTS, in the order of the queries
    dropped: pa.Table  # DROPPED: queries, with the reason


def with_keys(judgements: pa.Table) -> pa.Table:
    """Give judgements as read (query_id, doc_id, maybe score and label) their keys (schema READ_JUDGEMENTS).

    `relevance` is null where the label has to tell, see `judged_by_labels`; it is 1 where there is no label either.
    """
    names = judgements.column_names
    size = judgements.num_rows
    without = pa.nulls(size, pa.float32()) if "label" in names else np.ones(size, dtype=np.float32)
    return pa.table(
        {
            "query_id": judgements.column("query_id"),
            "doc_id": judgements.column("doc_id"),
            "relevance": judgements.column("score") if "score" in names else without,
            "label": judgements.column("label") if "label" in names else pa.nulls(size, pa.string()),
            "query_key": keys_of(judgements.column("query_id")),
            "doc_key": keys_of(judgements.column("doc_id")),
        },
        schema=READ_JUDGEMENTS,
    )


def judged_by_labels(
    place: str, judgements: pa.Table, positive_labels: Sequence[str], section: str = "data"
) -> pa.Table:
    """Decide by their labels what judgements are worth.

    Labels that are all numbers (or true and false) are scores. Other labels make a positive where they are among
    `positive_labels`. A score that was given stays, and counts as 0 where the label is not among `positive_labels`.

    Args:
        place: where they are from, for messages.
        judgements: of all files, schema READ_JUDGEMENTS.
        positive_labels: of the configuration; may be empty.
        section: of the configuration that they are in, for messages.

    Returns:
        The same judgements, no `relevance` of them null.

    Raises:
        InputError: labels are missing, are words and `positive_labels` is empty, or some of these do not occur.
    """
    open_ = pc.is_null(judgements.column("relevance"))
    labels = judgements.column("label")
    if not (pc.any(open_).as_py() or positive_labels):
        return judgements
    _refuse_unlabelled(place, judgements.filter(pc.and_(open_, _is_blank(labels))))
    values = _numbers_in(labels)
    if not positive_labels:
        if values is None:
            raise InputError(
                f"{place}: the labels are words: {_kinds_of(labels)}. Say in {section}.positive_labels which are "
                f"positive, or name a column of numbers in {section}.judgements.columns.score."
            )
        judged = pc.coalesce(judgements.column("relevance"), values)
    else:
        positive = _positive(place, labels, values, positive_labels, section)
        judged = pc.if_else(positive, pc.fill_null(judgements.column("relevance"), 1.0), 0.0).cast(pa.float32())
    return judgements.set_column(judgements.schema.get_field_index("relevance"), "relevance", judged)


def _positive(
    place: str,
    labels: pa.ChunkedArray,
    values: pa.ChunkedArray | None,
    positive_labels: Sequence[str],
    section: str,
) -> pa.ChunkedArray:
    """Tell which labels are among the positive ones: by value where all are numbers, else letter by letter."""
    wanted = pa.array(positive_labels, pa.string())
    numbers_wanted = _numbers_in(wanted)
    given = labels
    if values is not None and numbers_wanted is not None:
        given, wanted = values, numbers_wanted
    absent = [
        label for label, there in zip(positive_labels, pc.is_in(wanted, given).to_pylist(), strict=True) if not there
    ]
    if absent:
        raise InputError(
            f"{place}: {section}.positive_labels names {listed(absent)}, which is no label there. "
            f"The labels are {_kinds_of(labels)}: correct {section}.positive_labels."
        )
    return pc.is_in(given, wanted)


def _numbers_in(labels: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray | None:
    """Return labels as float32 where all that are not missing are finite numbers, true or false; else None."""
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(labels))
    lower = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", lower))
    try:
        values = pc.if_else(_is_blank(labels), None, lower).cast(pa.float32())
    except pa.ArrowInvalid:
        return None
    return values if pc.all(pc.is_finite(values)).as_py() is not False else None


def _is_blank(labels: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(labels), ""), True)


def _kinds_of(labels: pa.ChunkedArray) -> str:
    return listed(pc.unique(labels.filter(pc.invert(_is_blank(labels)))).sort().to_pylist()) or "none"


def _refuse_unlabelled(place: str, judgements: pa.Table) -> None:
    if judgements.num_rows:
        query, document = (shown(judgements.column(name)[0].as_py(), 40) for name in ("query_id", "doc_id"))
        raise InputError(
            f"{place}: {judgements.num_rows} judgements have no label, such as that of the document {document} for the "
            f"query {query}. Give every row a label or a score."
        )


def key_queries(batch: pa.Table) -> pa.Table:
    """Give queries as read (query_id, text, metadata, maybe vector) their keys (schema QUERIES, and `vector`)."""
    text = pc.fill_null(batch.column("text"), "")
    queries = pa.table(
        {
            "query_id": batch.column("query_id"),
            "text": text,
            "metadata": batch.column("metadata"),
            "query_key": keys_of(batch.column("query_id")),
            "text_key": text_keys_of(text),
        },
        schema=QUERIES,
    )
    return queries.append_column("vector", batch.column("vector")) if "vector" in batch.column_names else queries


def judged_queries(queries: pa.Table, judgements: pa.Table, *, merge: bool, drop_empty: bool) -> Resolved:
    """Keep the queries that are judged; with `merge`, judged queries of equal text become the first of them.

    Judgements follow the query that was kept (their query_key is changed; schema READ_JUDGEMENTS).
    """
    wanted = np.isin(to_numpy(queries, "query_key"), to_numpy(judgements, "query_key"))
    dropped = [_dropped(queries.filter(pa.array(~wanted)), "not_judged")]
    queries = queries.filter(pa.array(wanted))
    empty = is_empty(queries.column("text").combine_chunks()).to_numpy(zero_copy_only=False) & drop_empty
    dropped.append(_dropped(queries.filter(pa.array(empty)), "empty_text"))
    queries = queries.filter(pa.array(~empty))

    text_key = to_numpy(queries, "text_key" if merge else "query_key")
    first = first_index(text_key, text_key)
    repeats = first != np.arange(len(first))
    dropped.append(_dropped(queries.filter(pa.array(repeats)), "exact_duplicate"))
    row = first_index(to_numpy(queries, "query_key"), to_numpy(judgements, "query_key"))
    known = row >= 0
    kept_key = to_numpy(queries, "query_key")[first[row[known]]]
    judgements = judgements.filter(pa.array(known)).drop_columns("query_key")
    judgements = judgements.append_column("query_key", pa.array(kept_key)).select(READ_JUDGEMENTS.names)
    return Resolved(queries.filter(pa.array(~repeats)), judgements, pa.concat_tables(dropped))


def resolve(queries: pa.Table, judgements: pa.Table, documents: pa.Table) -> Resolved:
    """Lead judgements to the documents that were kept, and keep the queries that still have a positive.

    Args:
        queries: schema QUERIES.
        judgements: schema READ_JUDGEMENTS.
        documents: doc_key (as judged), kept_key (the document that stands for it), text_key; of judged documents.

    Returns:
        The judgements are sorted by the row of their query; of two for one (query, document) the higher counts.
    """
    row = first_index(to_numpy(documents, "doc_key"), to_numpy(judgements, "doc_key"))
    found = row >= 0
    judgements, row = judgements.filter(pa.array(found)), row[found]
    query_row = first_index(to_numpy(queries, "query_key"), to_numpy(judgements, "query_key"))
    resolved = pa.table(
        {
            "query_key": judgements.column("query_key"),
            "doc_key": to_numpy(documents, "kept_key")[row],
            "text_key": to_numpy(documents, "text_key")[row],
            "relevance": judgements.column("relevance"),
            "label": judgements.column("label"),
        },
        schema=JUDGEMENTS,
    )
    resolved, query_row = _highest_of_each(resolved, query_row)
    has_positive = np.zeros(queries.num_rows, dtype=np.bool_)
    has_positive[query_row[to_numpy(resolved, "relevance") > 0]] = True
    return Resolved(
        queries.filter(pa.array(has_positive)),
        resolved.filter(pa.array(has_positive[query_row])),
        _dropped(queries.filter(pa.array(~has_positive)), "no_positive"),
    )


def _highest_of_each(judgements: pa.Table, query_row: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    place = np.arange(judgements.num_rows)
    by_pair = np.lexsort((place, -to_numpy(judgements, "relevance"), to_numpy(judgements, "doc_key"), query_row))
    doc_key = to_numpy(judgements, "doc_key")[by_pair]
    new = np.zeros(len(by_pair), dtype=np.bool_)
    new[starts_of(doc_key)] = True
    new[starts_of(query_row[by_pair])] = True
    chosen = by_pair[new]
    chosen = chosen[np.lexsort((chosen, query_row[chosen]))]
    return judgements.take(pa.array(chosen)), query_row[chosen]


def _dropped(queries: pa.Table, reason: str) -> pa.Table:
    return pa.table(
        {
            "id": queries.column("query_id"),
            "key": queries.column("query_key"),
            "reason": pa.repeat(pa.scalar(reason), queries.num_rows),
        },
        schema=DROPPED,
    )
