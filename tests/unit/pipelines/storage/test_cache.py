"""Copies of remote folders: fetched once, shared, and removed when there is no room, but never while in use."""

import io
import uuid
from pathlib import Path

import pytest

from pipelines.storage.cache import COPIES, Cache
from pipelines.storage.folder import Folder
from pipelines.storage.records import Record, record_of


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


def test_what_was_used_least_lately_makes_room(remote: Folder, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 900)
    places = {}
    for name in ("one", "two", "one", "three"):
        with cache.holding(remote, name, files_of(name)) as places[name]:
            assert (places[name] / "file").exists()
    assert copies(tmp_path) == 2
    assert places["one"].exists()
    assert not places["two"].exists()


def test_what_is_in_use_stays_though_there_is_no_room(remote: Folder, tmp_path: Path) -> None:
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
