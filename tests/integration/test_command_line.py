"""The command line in surroundings that are not kind: another locale, a closed pipe, a full disk, an interrupt."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIOENCODING"))}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run of three documents with vectors, whose names need more than ASCII."""
    folder = tmp_path / "dåta"
    folder.mkdir()
    rows = [{"vector": [1.0, number], "text": f"téxt {number}"} for number in range(3)]
    for name, key in (("corpus", "doc_id"), ("queries", "query_id")):
        lines = [json.dumps({key: f"ï{number}", **row}) + "\n" for number, row in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    judgements = [json.dumps({"query_id": f"ï{number}", "doc_id": f"ï{number}"}) + "\n" for number in range(3)]
    (folder / "judgements.jsonl").write_text("".join(judgements), encoding="utf-8")
    source = {"columns": {"vector": "vector"}}
    data: dict[str, Any] = {name: {"path": str(folder / f"{name}.jsonl"), **source} for name in ("corpus", "queries")}
    raw = {"run": str(folder / "rün"), "data": {**data, "judgements": str(folder / "judgements.jsonl")}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**raw, "engine": {"name": "local"}}), encoding="utf-8")
    return path


def hardneg(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def ran(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - of subprocess
    command = hardneg(*arguments)
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, stderr=subprocess.PIPE, check=False, encoding="utf-8", errors="replace", **options
    )
    return done


ASCII = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONIOENCODING": "latin-1:strict"}]


@pytest.mark.parametrize("encoding", ASCII)
def test_no_locale_is_too_small_for_a_message(config: Path, encoding: dict[str, str]) -> None:
    for arguments, status in (
        (["mine", str(config)], 0),
        (["status", str(config)], 0),
        (["plan", str(config)], 0),
        (["mine", str(config), "--set", "data.corpus.columns.text=é"], 2),
        (["mine", "nö.yaml"], 2),
    ):
        done = ran(*arguments, stdout=subprocess.PIPE, env={**PLAIN, **encoding})
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        if status:
            assert done.stderr.count("\n") == 1


def test_a_full_disk_under_the_output_and_a_closed_pipe_are_no_traceback(config: Path) -> None:
    ran("mine", str(config), stdout=subprocess.DEVNULL)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = ran("plan", str(config), "--json", stdout=full)
    assert done.returncode == 1
    assert done.stderr == (
        "hardneg: No space left on device. What was done is kept: the same command goes on from there once this is "
        "mended.\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = ran("plan", str(config), "--json", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    "arguments", [["mine"], ["nosuch"], ["mine", "a.yaml", "--nosuch"], ["mine", "a.yaml", "--set"]]
)
def test_a_wrong_command_is_one_line(arguments: list[str]) -> None:
    done = ran(*arguments, stdout=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith("hardneg: ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_an_interrupt_is_one_line_and_130(config: Path) -> None:
    os.mkfifo(config.with_name("slow.yaml"))  # opened and never written: the command waits
    working = subprocess.Popen(
        hardneg("mine", str(config.with_name("slow.yaml"))),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - a shell's `&` ignores it
    )
    with open(config.with_name("slow.yaml"), "w", encoding="utf-8"):  # waits until the command opens it, too
        time.sleep(0.5)
        working.send_signal(signal.SIGINT)
        _, said = working.communicate(timeout=60)
    assert working.returncode == 130
    assert said == "hardneg: interrupted. What was done is kept: the same command goes on from there.\n"


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/it"])
@pytest.mark.parametrize("command", ["mine", "plan"])
def test_a_file_in_the_place_of_the_run_is_named(config: Path, place: str, command: str) -> None:
    (config.parent / "file").write_text("mine", encoding="utf-8")
    done = ran(command, str(config), "--set", f"run={config.parent / place}", stdout=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hardneg: run: '{config.parent / 'file'}' is not a folder.")
    assert (config.parent / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("key", ["search_gpus", "encoder_gpus"])
def test_gpus_that_this_machine_lacks_are_refused_before_anything_is_written(config: Path, key: str) -> None:
    done = ran("mine", str(config), "--set", f"engine.{key}=64", stdout=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hardneg: engine.{key}: 64 for each worker, and this machine does not have as many")
    assert not (config.parent / "dåta" / "rün").exists()
