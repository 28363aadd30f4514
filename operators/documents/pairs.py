"""Turn (query, positive[, negative]) pairs into documents, queries and judgements."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.keys import text_keys_of


def documents_of(pairs: pa.Table) -> pa.Table:
    """Return the positives, then the negatives of a batch of pairs, as rows of a corpus: doc_id, text, metadata.

    Documents without an id are named after the key of their text, so equal texts are one document.
    """
    positives = _side(pairs, "positive")
    sides = [positives] if "negative" not in pairs.column_names else [positives, _side(pairs, "negative")]
    return pa.concat_tables([side.select(["doc_id", "text", "metadata"]) for side in sides])


def queries_of(pairs: pa.Table) -> pa.Table:
    """Return the queries of a batch of pairs: query_id, text, metadata (the pair's other columns)."""
    ids = pairs.column("query_id") if "query_id" in pairs.column_names else _names(pairs.column("query"))
    return pa.table({"query_id": ids, "text": pairs.column("query"), "metadata": pairs.column("metadata")})


def judgements_of(pairs: pa.Table) -> pa.Table:
    """Return the judgements of a batch of pairs: query_id, doc_id, score (1 for positives, 0 for negatives)."""
    ids = queries_of(pairs).column("query_id").combine_chunks()
    tables = []
    for side, score in (("positive", 1.0), ("negative", 0.0)):
        if side in pairs.column_names:
            documents = _side(pairs, side)
            scores = np.full(documents.num_rows, score, dtype=np.float32)
            query_ids = ids.take(documents.column("pair"))
            tables.append(pa.table({"query_id": query_ids, "doc_id": documents.column("doc_id"), "score": scores}))
    return pa.concat_tables(tables)


def _side(pairs: pa.Table, side: str) -> pa.Table:
    """Return one document a row: doc_id, text, metadata and the row of its pair. Lists are spread out."""
    texts = pairs.column(side).combine_chunks()
    if pa.types.is_list(texts.type):
        rows, texts = pc.list_parent_indices(texts), pc.list_flatten(texts)
    else:
        rows = pa.array(np.arange(len(texts)))
    given = f"{side}_id" in pairs.column_names
    table = pa.table(
        {
            "doc_id": pairs.column(f"{side}_id") if given else _names(texts),
            "text": texts,
            "metadata": pa.nulls(len(texts), pa.string()),
            "pair": rows,
        }
    )
    return table.filter(pc.is_valid(table.column("text")))


def _names(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    keys = text_keys_of(pc.fill_null(texts, ""))
    return pa.array(np.char.mod("%016x", keys), pa.string())
