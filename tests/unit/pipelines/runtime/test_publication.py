"""Publishing: a link that is switched in one step, and never in the place of something else."""

import os
from pathlib import Path

import pytest

from operators.errors import InputError
from pipelines.runtime.publication import DATASET, RECORD, check_published, publish
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder


def exported(run: RunDirectory, mark: str, content: bytes) -> tuple[StageFolder, dict[str, object]]:
    folder = run.stage("export", mark * 16)
    return folder, dict(folder.write_bytes("triplet/train.jsonl", content))


def test_a_reader_sees_one_export_or_the_other(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    for mark, content in (("a", b"first"), ("b", b"second"), ("a", b"first")):
        folder, record = exported(run, mark, content)
        root = publish(run, folder, {"triplet": ["query"]}, [record])
        assert root == f"{run.uri}/{DATASET}"
        assert (tmp_path / DATASET / "triplet" / "train.jsonl").read_bytes() == content
        assert os.readlink(tmp_path / DATASET) == f"export/{mark * 16}"
        written = run.read_sealed(RECORD)
        assert written is not None
        assert written["files"][0]["path"] == f"export/{mark * 16}/triplet/train.jsonl"
        check_published(run, ["export"])
    assert not list(tmp_path.glob("*.unfinished"))


def test_nothing_of_somebody_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / DATASET).mkdir()
    (tmp_path / DATASET / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not a link that hardneg made"):
        check_published(RunDirectory(str(tmp_path)), ["export"])
    assert (tmp_path / DATASET / "mine.txt").exists()


@pytest.mark.parametrize("name", ["config.json", RECORD, "report"])
def test_a_folder_with_files_of_these_names_is_refused_unless_a_run_began_there(tmp_path: Path, name: str) -> None:
    run = RunDirectory(str(tmp_path))
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=name):
        check_published(run, ["first", "export"])
    (tmp_path / "first" / ("c" * 16)).mkdir(parents=True)
    check_published(run, ["first", "export"])
