"""Write a synthetic collection as Parquet sources, in blocks, so that the memory does not grow with the collection.

`python -m benchmarks.sources text FOLDER --documents 1000000 --queries 10000` writes corpus/*.parquet (doc_id, text,
vector), queries.parquet (query_id, text, vector) and judgements.parquet: each query has one positive, the document near
which it was drawn.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import pages
from benchmarks.processes import measure
from benchmarks.real_vectors import real_vectors
from benchmarks.synthetic import Cloud, Hard, Matrix, Text
from operators.schemas import vectors_column

NAMES = ("hard", "text")
SEED = 0
ROWS_PER_FILE = 250_000
ROWS_AT_ONCE = 25_000
BYTES_PER_VALUE = 4


def cloud_of(name: str, scratch: Path) -> Cloud:
    """Return the distribution that has this name; `scratch` has the real vectors, or gets them."""
    return Hard(SEED) if name == "hard" else Text(real_vectors(scratch))


def written(name: str, scratch: Path, documents: int, queries: int) -> Path:
    """Write a collection, by a process of its own, in the place of one that is there; return its folder."""
    folder = scratch / f"sources-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sizes = ["--documents", str(documents), "--queries", str(queries), "--scratch", str(scratch)]
    measured = measure([sys.executable, "-m", "benchmarks.sources", name, str(folder), *sizes], folder / "log.txt")
    pages.tell(f"{name}: {documents:,} documents drawn in {measured.seconds:.0f} s")
    return folder


def main() -> None:
    """Write one collection."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    args = parser.parse_args()
    write_sources(cloud_of(args.name, args.scratch), args.folder, args.documents, args.queries)


def write_sources(
    cloud: Cloud, folder: Path, documents: int, queries: int, seed: int = SEED, rows_per_file: int = ROWS_PER_FILE
) -> None:
    """Write corpus, queries and judgements drawn from a distribution; the same for the same sizes and seed."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, documents])
    positive = np.sort(random.choice(documents, queries, replace=False))
    drawn = []
    for number, first in enumerate(range(0, documents, rows_per_file)):
        rows = range(first, min(first + rows_per_file, documents))
        with pq.ParquetWriter(folder / "corpus" / f"part-{number:05d}.parquet", _schema("doc_id", cloud)) as file:
            for start, vectors in blocks(cloud, rows, seed):
                ids = np.arange(start, start + len(vectors))
                file.write_table(_rows("doc_id", "document", ids, vectors))
                own = positive[(positive >= start) & (positive < start + len(vectors))] - start
                drawn.append(cloud.queries_for(vectors[own], np.random.default_rng([seed, start, 1])))
    order = random.permutation(queries)  # else the queries would lie as their positives do
    numbers = np.arange(queries)
    pq.write_table(_rows("query_id", "query", numbers, np.concatenate(drawn)[order]), folder / "queries.parquet")
    judged = {"query_id": _ids("query_id", numbers), "doc_id": _ids("doc_id", positive[order])}
    pq.write_table(pa.table(judged), folder / "judgements.parquet")


def write_more(cloud: Cloud, file: Path, rows: range, seed: int = SEED) -> None:
    """Write one file of documents that came later, with these numbers; no query was drawn near them."""
    with pq.ParquetWriter(file, _schema("doc_id", cloud)) as writer:
        for start, vectors in blocks(cloud, rows, seed):
            writer.write_table(_rows("doc_id", "document", np.arange(start, start + len(vectors)), vectors))


def blocks(cloud: Cloud, rows: range, seed: int) -> Iterator[tuple[int, Matrix]]:
    """Yield the first row and the vectors of each block of some rows; a block is drawn from its own seed."""
    for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows.stop - start)
        yield start, cloud.draw(count, np.random.default_rng([seed, start]))


def _rows(identifier: str, word: str, numbers: npt.NDArray[np.int64], vectors: Matrix) -> pa.Table:
    texts = pa.array([f"{word} {number}" for number in numbers.tolist()])
    return pa.table({identifier: _ids(identifier, numbers), "text": texts, "vector": vectors_column(vectors)})


def _ids(identifier: str, numbers: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array([f"{identifier[0]}{number}" for number in numbers.tolist()])


def _schema(identifier: str, cloud: Cloud) -> pa.Schema:
    return _rows(identifier, "", np.arange(1), cloud.draw(1, np.random.default_rng(0))).schema


if __name__ == "__main__":
    main()
