"""What is committed in a run directory, and what of it was done again."""

from pathlib import Path

from benchmarks.committed import committed
from pipelines.runtime.storage.run_directory import StageFolder

FOLDERS = ("export/0123456789abcdef", "search/all/0123456789abcdef")


def test_units_done_again_and_records_written_again_are_counted(tmp_path: Path) -> None:
    export, search = (StageFolder(f"{tmp_path}/{folder}") for folder in FOLDERS)
    for folder in (export, search):
        folder.commit_units("write", "a", {"a": {}, "b": {}})
        folder.commit_units("write", "c", {"c": {}})
    before = committed(tmp_path)
    assert (len(before.records), len(before.units), before.of_step("write"), before.of_step("other")) == (4, 6, 6, 0)
    export.commit_units("write", "a", {"d": {}})
    assert (before.done_again(committed(tmp_path)), before.rewritten(committed(tmp_path))) == (0, 0)
    export.commit_units("write", "b", {"b": {}, "e": {}})
    assert (before.done_again(committed(tmp_path)), before.rewritten(committed(tmp_path))) == (1, 0)
    search.commit_units("write", "c", {"c": {}})
    (record,) = search.unit_records("write", "a")
    search.remove(record)
    assert (before.done_again(committed(tmp_path)), before.rewritten(committed(tmp_path))) == (1, 2)
