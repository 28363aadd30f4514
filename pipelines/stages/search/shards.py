"""Open the shards of an index where they lie, or from the local cache of those that lie elsewhere."""

from contextlib import ExitStack
from dataclasses import dataclass, field

from operators.vectors.shard import Shard, open_shard
from pipelines.engines import Pool
from pipelines.storage.cache import Cache
from pipelines.storage.run_directory import StageFolder


@dataclass(frozen=True)
class Searchers:
    """Who searches the shards.

    Attributes:
        pool: the workers.
        device: on which every vector is compared, where that is done.
        cache: of shards that lie elsewhere.
    """

    pool: Pool
    device: str
    cache: Cache


@dataclass
class OpenShards:
    """The shards of a worker: one is open at a time, so a unit of work that follows on the same shard finds it open."""

    folder: StageFolder
    cache: Cache
    _opened: tuple[str, Shard] | None = None
    _files: ExitStack = field(default_factory=ExitStack)

    def open(self, path: str) -> Shard:
        """Open a shard, and close the one before."""
        if self._opened is None or self._opened[0] != path:
            self._opened = None
            self._files.close()
            self._opened = (path, open_shard(self._files.enter_context(self.cache.holding(self.folder, path))))
        return self._opened[1]
