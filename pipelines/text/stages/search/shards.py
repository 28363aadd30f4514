"""Open the shards of an index where they lie, or from the local cache of those that lie elsewhere."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import xxhash

from operators.vectors.geometry import InnerProduct
from operators.vectors.shard import Shard, open_shard, read_ahead
from pipelines.runtime.engines import Pool
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages.encode import geometry_in


def name_of(shard: Mapping[str, Any]) -> str:
    """Return the name of a shard, 32 hexadecimal digits: another for every content.

    Units are named by it and not by its number: an index that grew may have other shards where these are built again.
    """
    return str(shard["folder"]).rpartition("/")[2]


def layout_of(shards: Sequence[Mapping[str, Any]]) -> str:
    """Return a name for shards in their order, 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest("\n".join(map(name_of, shards)).encode())


@dataclass(frozen=True)
class SearchPool:
    """Who searches the shards.

    Attributes:
        pool: the workers.
        device: on which every vector is compared, where that is done.
        cache: of shards that lie elsewhere.
    """

    pool: Pool
    device: str
    cache: Cache


@dataclass(frozen=True)
class Indexed:
    """The vectors of an encoder, and their index.

    Attributes:
        encoded: the vectors of documents and queries.
        index: the shards.
        searchers: who opens and searches them.
    """

    encoded: StageOutput
    index: StageOutput
    searchers: SearchPool

    @property
    def geometry(self) -> InnerProduct:
        """How the inner products of the vectors are read."""
        return geometry_in(self.encoded)


@dataclass
class OpenShards:
    """The shards of a worker: one is open at a time, so a unit of work that follows on the same shard finds it open."""

    folder: StageFolder
    cache: Cache
    geometry: InnerProduct
    _opened: tuple[str, Shard] | None = None
    _files: ExitStack = field(default_factory=ExitStack)

    def open(self, shard: Mapping[str, Any], whole: bool = False) -> Shard:
        """Open a shard, and close the one before.

        Args:
            shard: its `folder`, and the records of its `files`.
            whole: most of it will be read.

        Raises:
            DamagedError: one of the files is missing, or is not what was written.
        """
        if self._opened is None or self._opened[0] != shard["folder"]:
            self._opened = None
            self._files.close()
            held = self._files.enter_context(self.cache.holding(self.folder, shard["folder"], shard["files"]))
            if whole:
                read_ahead(held)
            self._opened = (shard["folder"], open_shard(held, self.geometry))
        return self._opened[1]
