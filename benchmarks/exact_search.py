"""The peer's way with vectors: sentence-transformers' `mine_hard_negatives(use_faiss=True)` behind its encoding.

`python -m benchmarks.exact_search SOURCES FOUND.parquet` loads the vectors of a folder of sources into memory, puts
them into a flat FAISS index, searches, and picks the best that are no positives; it writes what it found and prints one
JSON object with the seconds of each. Texts, which the peer holds too, are left out: in memory this favours the peer.
"""

import argparse
import json
import time
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from operators.schemas import matrix_of
from operators.segments import starts_of

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

QUERIES_AT_ONCE = 16384  # the peer's faiss_batch_size


def main() -> None:
    """Load, search, pick, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    parser.add_argument("found", type=Path)
    parser.add_argument("--range-max", type=int, default=100)
    parser.add_argument("--num-negatives", type=int, default=4)
    args = parser.parse_args()
    times = [time.perf_counter()]
    doc_ids, documents = load(sorted((args.sources / "corpus").glob("*.parquet")), "doc_id")
    query_ids, queries = load([args.sources / "queries.parquet"], "query_id")
    positives = positive_rows(pq.read_table(args.sources / "judgements.parquet"), query_ids, doc_ids)
    times.append(time.perf_counter())
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(documents)
    times.append(time.perf_counter())
    scores, rows = search(index, queries, args.range_max + positives.shape[1])
    times.append(time.perf_counter())
    scores, rows = pick(scores, rows, positives, args.range_max)
    chosen = rows[:, : args.num_negatives]
    times.append(time.perf_counter())
    write(args.found, query_ids, doc_ids.take(pa.array(rows.ravel())), scores)
    seconds = dict(zip(("load", "index", "search", "pick"), np.diff(times).round(3).tolist(), strict=True))
    print(json.dumps({"seconds": seconds, "negatives": int((chosen >= 0).sum())}))


def load(files: list[Path], name: str) -> tuple[pa.Array, Matrix]:
    """Read ids and vectors of Parquet files: strings (n,) and float32 (n, dimension), of length 1."""
    readers = [pq.ParquetFile(file) for file in files]
    rows = sum(reader.metadata.num_rows for reader in readers)
    dimension = readers[0].schema_arrow.field("vector").type.list_size
    matrix, ids, first = np.empty((rows, dimension), dtype=np.float32), [], 0
    for reader in readers:
        for batch in reader.iter_batches(columns=[name, "vector"]):
            matrix[first : first + batch.num_rows] = matrix_of(batch.column("vector"))
            ids.append(batch.column(name))
            first += batch.num_rows
    faiss.normalize_L2(matrix)
    return pa.concat_arrays(ids), matrix


def positive_rows(judgements: pa.Table, query_ids: pa.Array, doc_ids: pa.Array) -> Ints:
    """Return the rows of each query's positives, (queries, most positives of a query), padded with -2."""
    query = pc.index_in(judgements["query_id"], query_ids).to_numpy()
    document = pc.index_in(judgements["doc_id"], doc_ids).to_numpy()
    order = np.argsort(query, kind="stable")
    query, document = query[order], document[order]
    starts = starts_of(query)
    place = np.arange(len(query)) - np.repeat(starts, np.diff(np.append(starts, len(query))))
    padded = np.full((len(query_ids), int(place.max()) + 1), -2, dtype=np.int64)
    padded[query, place] = document
    return padded


def search(index: faiss.IndexFlatIP, queries: Matrix, depth: int) -> tuple[Matrix, Ints]:
    """Search in batches of the peer's size: scores and rows, each (queries, depth)."""
    starts = range(0, len(queries), QUERIES_AT_ONCE)
    found = [index.search(queries[start : start + QUERIES_AT_ONCE], depth) for start in starts]
    return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])


def pick(scores: Matrix, rows: Ints, positives: Ints, range_max: int) -> tuple[Matrix, Ints]:
    """Return the best that are no positives, best first: scores and rows, each (queries, range_max)."""
    is_positive = (rows[:, :, None] == positives[:, None, :]).any(axis=2)
    scores = np.where(is_positive | (rows < 0), -np.inf, scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :range_max]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


def write(file: Path, query_ids: pa.Array, doc_ids: pa.Array, scores: Matrix) -> None:
    """Write one row for each query and document."""
    query = query_ids.take(pa.array(np.repeat(np.arange(len(query_ids)), scores.shape[1])))
    pq.write_table(pa.table({"query_id": query, "doc_id": doc_ids, "score": scores.ravel()}), file)


if __name__ == "__main__":
    main()
