"""Arrow files mapped on a worker's disk: what is read of them is in memory, as far as memory allows."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import PurePath

import pyarrow as pa

from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import Record


def mapped(folder: Folder, name: str, files: Sequence[Record], cache: Cache, holding: ExitStack) -> list[pa.Table]:
    """Map the files of a folder; of a remote one a copy in the cache.

    Args:
        folder: of the stage.
        name: of the folder in it.
        files: the records of the files, in the order of the result.
        cache: where the copy is.
        holding: keeps the copy until it is closed.

    Raises:
        DamagedError: a file is missing, or is not what was written.
    """
    place = holding.enter_context(cache.holding(folder, name, files))
    paths = [place / PurePath(file["path"]).name for file in files]
    return [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths]
