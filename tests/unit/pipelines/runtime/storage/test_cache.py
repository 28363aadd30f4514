"""Copies of remote folders: fetched once, shared, and removed when the disk is full, but never while in use."""

import io
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipelines.runtime.storage.cache import COPIES, UNFINISHED, Cache
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import DamagedError, Record, record_of


@pytest.fixture
def remote() -> Folder:
    folder = Folder(f"memory://cache-{uuid.uuid4().hex}")
    for name in ("one", "two", "three"):
        folder.write_bytes(f"{name}/file", content_of(name))
    return folder


def content_of(name: str) -> bytes:
    return name.encode() * 100


def files_of(name: str) -> list[Record]:
    """The record of the one file of a folder."""
    return [record_of(f"{name}/file", io.BytesIO(content_of(name)))]


def copies(place: Path) -> int:
    return len(list((place / COPIES).iterdir()))


def test_a_folder_is_fetched_once(remote: Folder, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 1 << 20)
    with cache.holding(remote, "one", files_of("one")) as first:
        assert (first / "file").read_bytes() == b"one" * 100
    remote.remove("one/file")
    with cache.holding(remote, "one", files_of("one")) as again:
        assert again == first
        assert (again / "file").read_bytes() == b"one" * 100


def test_the_least_recently_used_copy_is_removed_first(remote: Folder, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 900)
    places = {}
    for name in ("one", "two", "one", "three"):
        with cache.holding(remote, name, files_of(name)) as places[name]:
            assert (places[name] / "file").exists()
    assert copies(tmp_path) == 2
    assert places["one"].exists()
    assert not places["two"].exists()


def test_a_copy_in_use_stays_on_a_full_disk(remote: Folder, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 1)
    with (
        cache.holding(remote, "one", files_of("one")) as one,
        Cache(str(tmp_path), 1).holding(remote, "two", files_of("two")) as two,
    ):
        assert (one / "file").read_bytes() == b"one" * 100
        assert (two / "file").read_bytes() == b"two" * 100
    with cache.holding(remote, "three", files_of("three")):
        assert copies(tmp_path) == 1


@pytest.mark.timeout(30)
def test_a_copy_is_held_by_several_at_a_time(remote: Folder, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 1 << 20)
    with (
        cache.holding(remote, "one", files_of("one")) as first,
        Cache(str(tmp_path), 1 << 20).holding(remote, "one", files_of("one")) as second,
    ):
        assert first == second


def test_a_local_folder_is_not_copied(tmp_path: Path) -> None:
    here = Folder(str(tmp_path / "here"))
    here.write_bytes("shard/file", content_of("shard"))
    with Cache(str(tmp_path / "cache"), 1).holding(here, "shard", files_of("shard")) as path:
        assert path == tmp_path / "here" / "shard"
    assert not (tmp_path / "cache").exists()


def test_a_damaged_copy_is_fetched_again(remote: Folder, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 1 << 20)
    with cache.holding(remote, "one", files_of("one")) as copy:
        (copy / "file").write_bytes(b"x" * len(content_of("one")))
    with cache.holding(remote, "one", files_of("one")) as copy:
        assert (copy / "file").read_bytes() == content_of("one")


def test_a_damaged_source_is_named_and_leaves_no_copy(remote: Folder, tmp_path: Path) -> None:
    remote.write_bytes("one/file", b"x" * len(content_of("one")))
    with (
        pytest.raises(DamagedError, match="one/file: the content"),
        Cache(str(tmp_path), 1 << 20).holding(remote, "one", files_of("one")),
    ):
        pass
    assert copies(tmp_path) == 0


# Holds folders of a remote place in turn; the place is a folder that counts as remote.
HOLDER = """
import io, random, sys
from pathlib import Path
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import record_of

class Remote(Folder):
    is_local = False

source, cache, seed = Remote(sys.argv[1]), Cache(sys.argv[2], 900), random.Random(sys.argv[3])
for _ in range(300):
    name = seed.choice(["one", "two", "three", "four", "five"])
    record = record_of(f"{name}/file", io.BytesIO(name.encode() * 100))
    with cache.holding(source, name, [record]) as copy:
        assert (copy / "file").read_bytes() == name.encode() * 100
"""


def test_processes_that_need_more_than_there_is_space_for_do_not_disturb_each_other(tmp_path: Path) -> None:
    place = Folder(str(tmp_path / "source"))
    for name in ("one", "two", "three", "four", "five"):
        place.write_bytes(f"{name}/file", content_of(name))
    cache = tmp_path / "cache"
    abandoned = cache / COPIES / f"{'0' * 32}{UNFINISHED}"  # of a process that was killed while it fetched
    abandoned.mkdir(parents=True)
    (abandoned / "file").write_bytes(bytes(1000))
    command = [sys.executable, "-c", HOLDER, str(place.path()), str(cache)]
    holders = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(4)]
    assert [(holder.communicate()[1], holder.returncode) for holder in holders] == [("", 0)] * 4
    assert not abandoned.exists()
