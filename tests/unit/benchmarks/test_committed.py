"""What is committed in a run directory, and what of it was done again."""

from pathlib import Path

from benchmarks.committed import committed
from pipelines.storage.run_directory import StageFolder

FOLDERS = ("export/0123456789abcdef", "search/all/0123456789abcdef")


def test_units_done_again_and_records_written_again_are_counted(tmp_path: Path) -> None:
    export, search = (StageFolder(f"{tmp_path}/{folder}") for folder in FOLDERS)
    for folder in (export, search):
        folder.commit_units("write", "a", 0, {"a": {}, "b": {}})
        folder.commit_units("write", "c", 0, {"c": {}})
    before = committed(tmp_path)
    assert (len(before.records), len(before.units), before.of_step("write"), before.of_step("other")) == (4, 6, 6, 0)
    export.commit_units("write", "a", 1, {"d": {}})
    assert (before.done_again(committed(tmp_path)), before.rewritten(committed(tmp_path))) == (0, 0)
    export.commit_units("write", "b", 0, {"b": {}, "e": {}})
    assert (before.done_again(committed(tmp_path)), before.rewritten(committed(tmp_path))) == (1, 0)
    search.commit_units("write", "c", 0, {"c": {}})
    (tmp_path / FOLDERS[1] / "_units" / "write" / "a" / "00000.2.json").unlink()
    assert (before.done_again(committed(tmp_path)), before.rewritten(committed(tmp_path))) == (1, 2)
