"""Keep what somebody wrote into a file of ours, before it is written again."""

from itertools import count
from pathlib import PurePosixPath

from pipelines.runtime.storage.folder import Folder


def keep_edited(folder: Folder, name: str, edited: bytes) -> None:
    """Write an edited file to the first free name, `README.edited.md` for `README.md`; what was kept before stays."""
    path = PurePosixPath(name)
    for number in count(1):
        kept = str(path.with_name(f"{path.stem}.edited{f'.{number}' if number > 1 else ''}{path.suffix}"))
        if not folder.exists(kept):
            folder.write_bytes(kept, edited)
            return
        if folder.read_bytes(kept) == edited:
            return
