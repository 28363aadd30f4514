"""A run directory with damaged files: they are written again or named, and never used."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from operators.errors import InputError
from pipelines.runtime.status import status
from pipelines.runtime.storage.run_directory import RunDirectory
from pipelines.runtime.verify import verify
from pipelines.text.config import Config
from pipelines.text.evaluation import evaluate
from tests.integration.conftest import dataset, run
from tests.integration.vector_sources import vector_config, vector_sources


def delete(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def zero_the_end(file: Path) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(len(content) - half))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[random.Random(file.name).randrange(len(content))] ^= 0x10
    file.write_bytes(bytes(content))


DAMAGES: list[Callable[[Path], None]] = [delete, truncate, empty, zero_the_end, flip]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return vector_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def finished(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(vector_config(folder, data))
    return folder


@pytest.fixture(scope="module")
def expected(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The rows of fresh runs: of the finished one, and of the changed one."""
    tables = {}
    for name, changed in CHANGES.items():
        folder = tmp_path_factory.mktemp(name) / "run"
        run(vector_config(folder, data, **changed))
        tables[name] = dataset(folder)
    return tables


# What is read of what is there: nothing; the candidates; the vectors and shards.
CHANGES: dict[str, dict[str, Any]] = {
    "same": {},
    "selection": {"select": {"num_negatives": 2}},
    "search": {"search": {"k": 30}, "select": {"range_max": 30}},
}


def files_of(folder: Path) -> list[str]:
    names = (file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file())
    return [name for name in names if not name.startswith(("dataset/", "report/")) and name != "config.json"]


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, symlinks=True)
    return to


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_file_is_written_again(
    finished: Path,
    data: dict[str, Any],
    expected: dict[str, pa.Table],
    tmp_path: Path,
    damage: Callable[[Path], None],
    change: str,
) -> None:
    everything = [name for name in files_of(finished) if (finished / name).stat().st_size]
    for number, name in enumerate(random.Random(f"{damage.__name__} {change}").sample(everything, 5)):
        folder = copied(finished, tmp_path / str(number))
        damage(folder / name)
        run(vector_config(folder, data, **CHANGES[change]))
        assert dataset(folder).equals(expected[change]), name


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_every_damaged_file(finished: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = copied(finished, tmp_path / "run")
    assert verify(RunDirectory(str(folder)))["state"] == "whole"
    for name in files_of(finished):
        if damage is delete and "_units" in name:
            continue  # the unit is done again where that matters
        if not (folder / name).stat().st_size:
            continue
        before = (folder / name).read_bytes()
        damage(folder / name)
        result = verify(RunDirectory(str(folder)))
        if (damage is delete and name.startswith("dataset.json")) or (damage is delete and name == "_plan.json"):
            assert result["state"] == "whole"
        elif damage is delete and "_manifest" in name:
            assert result["state"] == "incomplete"
        else:
            assert name in [one["path"] for one in result["damaged"]], name
        (folder / name).write_bytes(before)


def test_what_verify_names_is_mended_as_it_says(finished: Path, data: dict[str, Any], tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    damaged = random.Random(0).sample([name for name in files_of(finished) if (finished / name).stat().st_size], 10)
    for name in damaged:
        flip(folder / name)
    for one in verify(RunDirectory(str(folder)))["damaged"]:
        (folder / one["path"]).unlink()
    run(vector_config(folder, data))
    assert verify(RunDirectory(str(folder)))["damaged"] == []
    assert dataset(folder).equals(dataset(finished))


def test_no_file_of_another_is_removed(finished: Path, data: dict[str, Any], tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    others = {}
    for place in [folder, *(one for one in folder.rglob("*") if one.is_dir() and not one.is_symlink())]:
        for name in ("notes.txt", "my.parquet", "part.json"):
            others[place / name] = f"of somebody: {place} {name}"
            (place / name).write_text(others[place / name], encoding="utf-8")
    for name in random.Random(1).sample(files_of(finished), 20):
        (folder / name).unlink()
    run(vector_config(folder, data))
    run(vector_config(folder, data, select={"num_negatives": 2}, export={"formats": ["n-tuple"]}))
    with pytest.raises(InputError):
        run(vector_config(folder, data | {"on_dangling": "refuse", "judgements": str(folder / "notes.txt")}))
    assert {path: path.read_text(encoding="utf-8") for path in others if path.exists()} == others


def test_refused_input_leaves_the_files_of_others(data: dict[str, Any], tmp_path: Path) -> None:
    """The refusal comes after the corpus was prepared; what was written of it is removed, and nothing else."""
    judgements = tmp_path / "judgements.tsv"
    judgements.write_text("query_id\tdoc_id\nq0\tunknown\n", encoding="utf-8")
    folder = tmp_path / "run"
    (folder / "prepare" / "corpus").mkdir(parents=True)
    (folder / "prepare" / "corpus" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="unknown"):
        run(vector_config(folder, data | {"judgements": str(judgements)}))
    left = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert left == ["prepare/corpus/notes.txt"]


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_a_dataset_of_another_is_refused(data: dict[str, Any], tmp_path: Path, there: str) -> None:
    place = tmp_path / "dataset"
    if there == "folder":
        place.mkdir()
        (place / "corpus.jsonl").write_text("mine", encoding="utf-8")
    elif there == "file":
        place.write_text("mine", encoding="utf-8")
    else:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="dataset is not a link that hardneg made"):
        run(vector_config(tmp_path, data))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["config.json", "dataset.json", "report/report.html"])
def test_files_of_another_project_are_not_replaced(data: dict[str, Any], tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=name.partition("/")[0]):
        run(vector_config(tmp_path, data))
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / name]


def test_a_folder_in_the_place_of_a_file_is_named(finished: Path, data: dict[str, Any], tmp_path: Path) -> None:
    for number, name in enumerate(random.Random(2).sample(files_of(finished), 8)):
        folder = copied(finished, tmp_path / str(number))
        (folder / name).unlink()
        (folder / name).mkdir()
        (folder / name / "file").write_text("mine", encoding="utf-8")
        config = written(tmp_path, vector_config(folder, data))
        done = subprocess.run(hardneg("mine", str(config)), capture_output=True, text=True, check=False)
        if done.returncode:
            assert done.returncode == 2
            assert f"{folder / name}: a folder is where hardneg writes" in done.stderr
        else:
            assert dataset(folder).equals(dataset(finished)), name
        assert (folder / name / "file").exists()


def test_a_card_that_was_edited_is_kept(finished: Path, data: dict[str, Any], tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    card = folder / "dataset" / "triplet" / "README.md"
    original = card.read_text(encoding="utf-8")
    card.write_text(f"{original}\nWith notes.\n", encoding="utf-8")
    run(vector_config(folder, data))
    assert card.read_text(encoding="utf-8") == original
    assert card.with_name("README.edited.md").read_text(encoding="utf-8").endswith("With notes.\n")


def test_every_edited_card_stays_and_no_card_of_ours_is_taken_for_one(data: dict[str, Any], tmp_path: Path) -> None:
    config = vector_config(tmp_path / "run", data)
    other = config.model_copy(update={"encoder": config.encoder.model_copy(update={"batch_tokens": 512})})
    run(config)
    card = tmp_path / "run" / "dataset" / "triplet" / "README.md"

    run(other)
    assert len(list(card.parent.glob("README*"))) == 1

    for text in ("first", "second", "first"):
        card.write_text(text, encoding="utf-8")
        run(config)
    kept = {file.read_text(encoding="utf-8") for file in card.parent.glob("README.edited*")}
    assert kept == {"first", "second"}


def test_an_evaluation_does_not_change_the_status(finished: Path, data: dict[str, Any], tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    evaluate(vector_config(folder, data, search={"k": 25}))
    assert status(RunDirectory(str(folder)))["state"] == "complete"


# Runs the configuration of its second argument in processes of its own, each killed one write later than the one
# before, until one is not killed. Prints the number of processes.
KILLED_AT_EVERY_WRITE = """
import json, os, signal, sys
from pathlib import Path
from pipelines.config import load
from tests.integration.conftest import run

replace, path_replace, link = os.replace, Path.replace, os.link
left = 0

def counted(call):
    def count(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return count

for kill_at in range(1, 1000):
    child = os.fork()
    if child == 0:
        left = kill_at
        os.replace, Path.replace, os.link = counted(replace), counted(path_replace), counted(link)
        sys.stderr = open(os.devnull, "w")
        run(load(sys.argv[1]))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(kill_at, status, flush=True)
    if status == 0:
        break
"""


def test_a_reader_sees_the_old_or_the_new_dataset_whole(
    finished: Path, data: dict[str, Any], expected: dict[str, pa.Table], tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "run")
    config = written(tmp_path, vector_config(folder, data, select={"num_negatives": 2}))
    command = [sys.executable, "-c", KILLED_AT_EVERY_WRITE, str(config)]
    killing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    old, new, seen = expected["same"], expected["selection"], []
    while killing.poll() is None:
        place = (folder / "dataset").resolve()
        table = read(place)
        assert table.equals(old) or table.equals(new)
        seen.append(table.num_rows)
    output = killing.communicate()[0].split("\n")
    assert killing.returncode == 0
    assert len(output) > 10  # every write of the selection, the export and the publication
    assert read((folder / "dataset").resolve()).equals(new)
    assert seen[0] == old.num_rows
    assert verify(RunDirectory(str(folder)))["state"] == "whole"


def read(place: Path) -> pa.Table:
    return pq.read_table(sorted((place / "triplet").glob("*.parquet")))


def written(folder: Path, config: Config) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


def hardneg(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def test_status_and_verify_say_where_nothing_has_run(tmp_path: Path) -> None:
    for command in ("status", "verify"):
        done = subprocess.run(hardneg(command, str(tmp_path)), capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_verify_tells_its_result_by_the_exit_status(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    whole = subprocess.run(hardneg("verify", str(folder), "--json"), capture_output=True, text=True, check=False)
    assert (whole.returncode, json.loads(whole.stdout)["state"]) == (0, "whole")
    part = next(file for file in sorted(folder.rglob("*.arrow")) if file.stat().st_size)
    flip(part)
    damaged = subprocess.run(hardneg("verify", str(folder)), capture_output=True, text=True, check=False)
    assert damaged.returncode == 1
    assert damaged.stdout.startswith(f"{part.relative_to(folder)}: the content is not what was written")


def test_a_refusal_removes_nothing_that_was_there_before(finished: Path, data: dict[str, Any], tmp_path: Path) -> None:
    """The corpus is written again, and then the selection cannot be: a folder is where its file belongs."""
    folder = copied(finished, tmp_path / "run")
    (next(folder.glob("prepare/corpus/*/deduplicated/part-00000.arrow"))).unlink()
    occupied = next(folder.glob("select/*/negatives/part-00000.parquet"))
    occupied.unlink()
    occupied.mkdir()
    with pytest.raises(InputError, match="a folder is where hardneg writes"):
        run(vector_config(folder, data))
    assert dataset(folder).equals(dataset(finished))
    occupied.rmdir()
    run(vector_config(folder, data))
    assert verify(RunDirectory(str(folder)))["state"] == "whole"


@pytest.mark.parametrize("name", ["run[1]", "a*b?c", "with blank #1 %20 {x}", "läuft-語"])
def test_a_run_directory_may_have_any_name(
    data: dict[str, Any], expected: dict[str, pa.Table], tmp_path: Path, name: str
) -> None:
    judgements = tmp_path / "judgements.tsv"
    judgements.write_text("query_id\tdoc_id\nq0\tunknown\n", encoding="utf-8")
    with pytest.raises(InputError, match="unknown"):
        run(vector_config(tmp_path / name, data | {"judgements": str(judgements)}))
    assert not (tmp_path / name).exists()
    run(vector_config(tmp_path / name, data))
    assert dataset(tmp_path / name).equals(expected["same"])
    # What another selection does not need stays damaged.
    needed = [one for one in files_of(tmp_path / name) if not one.startswith(("select/", "suspects/", "export/"))]
    for file in random.Random(3).sample(needed, 20):
        (tmp_path / name / file).unlink()
    run(vector_config(tmp_path / name, data, select={"num_negatives": 2}))
    assert dataset(tmp_path / name).equals(expected["selection"])
    assert status(RunDirectory(str(tmp_path / name)))["state"] == "complete"
    assert verify(RunDirectory(str(tmp_path / name)))["damaged"] == []


def test_what_is_in_the_place_of_the_lease_is_named_or_passed_over(
    finished: Path, data: dict[str, Any], tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "a")
    (folder / "_lease" / "00001.json").mkdir(parents=True)
    run(vector_config(folder, data))
    assert (folder / "_lease" / "00001.json").is_dir()
    folder = copied(finished, tmp_path / "b")
    (folder / "_lease").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"_lease: a file is where hardneg writes"):
        run(vector_config(folder, data))
    assert (folder / "_lease").read_text(encoding="utf-8") == "mine"
