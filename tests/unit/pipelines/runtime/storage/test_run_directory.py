import threading
import time
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest

from pipelines.runtime.storage.folder import absolute
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder, fingerprint


@pytest.mark.parametrize("uri", ["local", "memory://failing"])
def test_a_file_that_fails_while_it_is_written_leaves_what_was_there(uri: str, tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path) if uri == "local" else uri)
    folder.write_bytes("part", b"whole")

    def fail_halfway(stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        folder.write("part", fail_halfway)
    assert folder.read_bytes("part") == b"whole"
    assert folder.names() == ["part"]


@pytest.mark.parametrize("uri", ["local", "memory://stage"])
def test_what_is_written_is_read_back(uri: str, tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path / "new" / "stage") if uri == "local" else uri)
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    record = folder.write_table("deep/part.parquet", table)
    assert folder.read_table(record).equals(table)
    assert folder.read_table(record, ["b"]).column_names == ["b"]
    assert folder.manifest() is None
    folder.commit_units("step", "00001", {"00001": {"rows_out": 2}})
    folder.commit({"rows_out": 2})
    assert folder.manifest() == {"rows_out": 2}
    assert folder.done_units("step") == {"00001": {"rows_out": 2}}
    assert folder.done_units("other step") == {}
    folder.write_path("deep/part-1.parquet", lambda file: file.write_bytes(b"written to a path"))
    assert folder.names("deep") == ["part-1.parquet", "part.parquet"]
    assert folder.read_bytes("deep/part-1.parquet") == b"written to a path"


def test_a_fingerprint_changes_with_everything_it_names() -> None:
    same = fingerprint("stage", {"a": 1, "b": 2}, ["x", "y"])
    assert same == fingerprint("stage", {"b": 2, "a": 1}, ["x", "y"])
    others = [
        fingerprint("other", {"a": 1, "b": 2}, ["x", "y"]),
        fingerprint("stage", {"a": 1, "b": 3}, ["x", "y"]),
        fingerprint("stage", {"a": 1, "b": 2}, ["y", "x"]),
        fingerprint("stage", {"a": 1, "b": 2}, ["x"]),
    ]
    assert len({same, *others}) == 5


def test_storage_options_are_not_shown() -> None:
    folder = RunDirectory("s3://bucket/run", {"secret": "the key"}).stage("encode/corpus", "0123")
    assert folder.uri == "s3://bucket/run/encode/corpus/0123"
    assert "the key" not in repr(folder)


def test_a_relative_path_means_the_folder_it_was_given_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = absolute("runs/one")
    monkeypatch.chdir("/")
    assert uri == str(tmp_path / "runs" / "one")
    assert absolute("s3://bucket/run") == "s3://bucket/run"


def test_files_are_created_while_others_remove_their_empty_folder(tmp_path: Path) -> None:
    folder, until = RunDirectory(str(tmp_path / "run")), time.monotonic() + 3
    failures: list[Exception] = []

    def create_and_remove(name: str) -> None:
        while time.monotonic() < until and not failures:
            try:
                assert folder.create(f"lease/{name}", b"content")
                folder.remove(f"lease/{name}")
                folder.remove_if_empty("lease")
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=create_and_remove, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
