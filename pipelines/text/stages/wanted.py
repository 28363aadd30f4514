"""Which partitions want which documents: shuffled once into sorted files, which workers map and probe."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import pyarrow as pa

from operators.keys import Keys
from operators.schemas import to_numpy
from operators.segments import group_indices, join_sorted
from pipelines.runtime.engines import Stats, Unit
from pipelines.runtime.execution import Execution
from pipelines.runtime.shuffle import Ints, Shuffle
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.mapped import mapped

# The step, and the folder of its files: temporary, for a step that follows.
WANTED = "wanted"
WANTED_KEYS = pa.schema({"doc_key": pa.int64(), "part": pa.int32()})
# 12 bytes each.
KEYS_PER_BUCKET = 4_000_000
# Looked up at a time: some 50 bytes for each.
KEYS_AT_ONCE = 1 << 20

NamedIn = Callable[[Record], Keys]


def wanted_by(
    execution: Execution, step: str, parts: Sequence[Record], named_in: NamedIn, most: int, kind: str = WANTED
) -> Sequence[Record]:
    """List which partitions want which documents, sorted by document: a file for each bucket of keys.

    Args:
        execution: of the stage.
        step: that they are for, a shuffle with a bucket for each partition. Nothing is listed where it is done.
        parts: the partitions; they go by their places here.
        named_in: returns the keys of the documents that a partition names, each once.
        most: how many keys all partitions name, or more.
        kind: the step and the folder, where a stage lists more than one thing.
    """
    names = [f"{i:05d}" for i in range(len(parts))]
    if len(execution.done(step, names)) == len(names):
        return []
    units = [Unit(name, {"file": one, "part": i}) for i, (name, one) in enumerate(zip(names, parts, strict=True))]
    buckets = [Unit(f"{i:05d}", {}) for i in range(math.ceil(max(most, 1) / KEYS_PER_BUCKET))]
    route = partial(RouteWanted, named_in, len(buckets))
    gather = partial(WriteWanted, execution.folder, kind)
    stats = execution.shuffle(kind, Shuffle(route, units, gather, buckets, WANTED_KEYS))
    return [one["file"] for one in stats]


class RouteWanted:
    """One partition -> the documents that it names, to the bucket of their key."""

    def __init__(self, named_in: NamedIn, buckets: int) -> None:
        self.named_in, self.buckets = named_in, buckets

    def __call__(self, unit: Unit) -> Iterator[tuple[Keys, pa.Table]]:
        """Route one partition."""
        keys = self.named_in(unit.args["file"])
        part = np.full(len(keys), unit.args["part"], np.int32)
        yield keys % self.buckets, pa.table({"doc_key": keys, "part": part}, schema=WANTED_KEYS)


class WriteWanted:
    """All wanted documents of a bucket -> the same, sorted."""

    def __init__(self, folder: StageFolder, kind: str) -> None:
        self.folder, self.kind = folder, kind

    def __call__(self, bucket: Unit, wanted: pa.Table) -> Stats:
        """Write one bucket."""
        wanted = wanted.sort_by([("doc_key", "ascending"), ("part", "ascending")])
        file = self.folder.write_table(f"{self.kind}/part-{bucket.name}.arrow", wanted)
        return {"file": file, "rows_out": wanted.num_rows}


class OpenWanted:
    """What is wanted, mapped on a worker: the pages that are probed are in memory, as far as memory allows."""

    def __init__(self, folder: StageFolder, files: Sequence[Record], cache: Cache, kind: str = WANTED) -> None:
        self.files = ExitStack()
        self.buckets = mapped(folder, kind, files, cache, self.files)

    def among(self, doc_keys: Keys) -> Iterator[tuple[Ints, Ints]]:
        """Yield which of some documents are wanted, as one table of pairs after another.

        A table is two int64 arrays of one length: the numbers of the partitions that want a document, and its place in
        `doc_keys`, ascending.
        """
        for first in range(0, len(doc_keys), KEYS_AT_ONCE):
            some = doc_keys[first : first + KEYS_AT_ONCE]
            order = np.argsort(some)  # what is looked up in order is found ten times as fast
            ascending = some[order]
            for bucket, places in group_indices(ascending % len(self.buckets)):
                wanted = self.buckets[bucket]
                found, at = join_sorted(ascending[places], to_numpy(wanted, "doc_key"))
                place = order[places[found]]
                by_place = np.argsort(place, kind="stable")
                yield to_numpy(wanted, "part")[at[by_place]].astype(np.int64), first + place[by_place]
