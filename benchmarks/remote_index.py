"""What training and building an index read from object storage, over the sample and over the vectors.

`python -m benchmarks.remote_index` mines up to the index with the run directory on an S3 server of this machine, and
writes benchmarks/remote_index.md.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.mining import given_vectors
from benchmarks.sources import written
from infra.local.object_store import ObjectStore, temporary_object_store
from infra.local.reads import Read, counted_reads
from operators.vectors.index import IndexConfig, Task, choose
from pipelines.run import mine
from pipelines.text.config import Config

NAME, DIMENSION, BYTES_PER_VALUE = "text", 384, 2
VECTOR = DIMENSION * BYTES_PER_VALUE
MOST_OF_SAMPLE = 2.0


@dataclass(frozen=True)
class Indexed:
    """One size.

    Attributes:
        documents: how many there are.
        sample: how many vectors trained the index.
        training, building: what each read of the files of vectors.
        seconds: of the stage.
    """

    documents: int
    sample: int
    training: Sequence[Read]
    building: Sequence[Read]
    seconds: float

    def over_sample(self) -> float:
        """Return the bytes that training read, over those of the sample."""
        return sum(read.size for read in self.training) / (self.sample * VECTOR)

    def over_vectors(self) -> float:
        """Return the bytes that building read, over those of the vectors; files have keys beside them, and a frame."""
        return sum(read.size for read in self.building) / (self.documents * VECTOR)


def main() -> None:
    """Index every size and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--sizes", nargs="+", type=int, default=[50_000, 100_000, 200_000])
    parser.add_argument("--factory", default="IVF512,PQ192x4fs")
    args = parser.parse_args()
    with temporary_object_store() as store:
        indexed = [_indexed(store, size, args) for size in args.sizes]
    pages.write("remote_index", _page(indexed, args))


def _indexed(store: ObjectStore, documents: int, args: argparse.Namespace) -> Indexed:
    scratch: Path = args.scratch.resolve()
    sources = written(NAME, scratch, documents, 1000)
    settings: dict[str, Any] = given_vectors(sources, "4GiB")
    settings["engine"] |= {"name": "local", "cache": str(scratch / "cache")}
    settings |= {"index": {"factory": args.factory}, "storage_options": store.storage_options()}
    config = Config.model_validate({"run": f"{store.make_bucket(f'index-{documents}')}/run", **settings})
    mine(config, until="encode")
    with counted_reads() as reads:
        stage = mine(config, until="index").stages["index"]
    shutil.rmtree(sources)
    choice = choose(IndexConfig(factory=args.factory), Task(documents, 1000, DIMENSION, documents))
    vectors = [read for read in reads if "/encode/" in f"/{read.key}" and read.key.endswith(".arrow")]
    one = Indexed(
        documents=stage["rows_out"],
        sample=choice.train_rows,
        training=[read for read in vectors if read.ranged],
        building=[read for read in vectors if not read.ranged],
        seconds=stage["seconds"],
    )
    pages.tell(f"{documents:,}: training {one.over_sample():.2f}, building {one.over_vectors():.2f}")
    return one


def _page(indexed: Sequence[Indexed], args: argparse.Namespace) -> list[str]:
    head = ["documents", "sample", "training: requests", "MB", "over the sample", "building: requests", "MB"]
    head += ["over the vectors", "index, s"]
    once = all(len({read.key for read in one.building}) == len(one.building) for one in indexed)
    return [
        pages.heading("What an index reads from object storage", "remote_index"),
        f"The `text` set of [vectors](vectors.md), {DIMENSION} dimensions in float16, engine `local`, "
        f"`index.factory: {args.factory}`, all else by default; the run directory is on an S3 server of this machine. "
        f"One round. Bytes of the files of vectors, as the store sent them.",
        pages.table(head, [_row(one) for one in indexed]),
        "\n".join(
            [
                pages.goal(
                    all(one.over_sample() <= MOST_OF_SAMPLE for one in indexed),
                    f"Training reads at most {MOST_OF_SAMPLE:g} times its sample",
                ),
                pages.goal(once, "Building reads every file of vectors once"),
            ]
        ),
    ]


def _row(one: Indexed) -> list[str]:
    told = [f"{one.documents:,}", f"{one.sample:,}"]
    for reads, over in ((one.training, one.over_sample()), (one.building, one.over_vectors())):
        told += [f"{len(reads):,}", f"{sum(read.size for read in reads) / 1e6:,.1f}", f"{over:.2f}"]
    return [*told, f"{one.seconds:,.1f}"]


if __name__ == "__main__":
    main()
