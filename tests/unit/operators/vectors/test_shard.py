"""A shard is read ahead whole, however little the system reads at one request."""

import ctypes
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from operators.vectors.shard import read_ahead

SIZE = 64 << 20


def resident_bytes(file: Path) -> int:
    """How much of a file is in the page cache."""
    mapped = np.memmap(file, np.uint8, "r")
    pages = np.zeros(-(-SIZE // os.sysconf("SC_PAGESIZE")), np.uint8)
    address, into = ctypes.c_void_p(mapped.ctypes.data), ctypes.c_void_p(pages.ctypes.data)
    assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(SIZE), into) == 0
    return int((pages & 1).sum()) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="the page cache is looked at as Linux shows it")
def test_all_of_a_shard_is_read_ahead(tmp_path: Path) -> None:
    file = tmp_path / "vectors.faiss"
    with file.open("wb") as written:
        written.write(np.random.default_rng(0).bytes(SIZE))
        written.flush()
        os.fsync(written.fileno())
        os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_bytes(file):
        pytest.skip("this file system keeps its files in memory")
    read_ahead(tmp_path)
    until = time.monotonic() + 20
    while resident_bytes(file) < 0.9 * SIZE and time.monotonic() < until:
        time.sleep(0.05)
    assert resident_bytes(file) >= 0.9 * SIZE
