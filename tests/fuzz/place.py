"""Where cases write: in memory where that can be, as they make and remove many thousands of small files."""

import os
import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")


def new_folder(prefix: str) -> Path:
    """Make a folder."""
    there = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix=f"hardneg-fuzz-{prefix}-", dir=_IN_MEMORY if there else None)).resolve()
