"""Cases of run directories: a finished run, damaged, and then a command on it."""

import atexit
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz.case import Case, write_config
from tests.fuzz.checking import dataset_rows
from tests.fuzz.damage import damaged_content, remove
from tests.fuzz.outcome import REFUSED, in_process
from tests.fuzz.place import new_folder
from tests.fuzz.simple import simple_config

BASES: Mapping[str, Mapping[str, Any]] = {
    "shards": {"index": {"factory": "exact", "shard_rows": 9}, "export": {"formats": ["triplet", "n-tuple"]}},
    "jsonl": {"export": {"formats": ["labeled-list", "labeled-pair", "triplet"], "file_format": "jsonl"}},
    "codes": {"index": {"factory": "IVF2,SQ8", "shard_rows": 20}, "export": {"formats": ["triplet"]}},
}
CHANGES = ("select.relative_margin=0.25", "select.num_negatives=1", "export.formats=[labeled-pair]", "search.k=9")
COMMANDS = ("again", "again", "changed", "changed", "status", "verify", "verify", "plan")
# What a run says of itself, and its report: not what a later one builds on, nor training data.
TELLING = {"config.json", "report.html", "report.json"}
# Where units and stages leave what belongs to no other stage.
PASSING = ("sample", "tried", "short-", "found", "read", "_units", "_lease", "report")
OWN = b"this is mine\n"


@dataclass
class Base:
    """A finished run.

    Attributes:
        config: its configuration.
        run: its directory.
        rows: the training data of each change of it, laid out to be compared; "" is none.
    """

    config: dict[str, Any]
    run: Path
    rows: dict[str, dict[str, list[str]]] = field(default_factory=dict)


@cache
def _place() -> Path:
    folder = new_folder("runs")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def base(name: str) -> Base:
    """Make a run, and what each change of it gives."""
    folder = _place() / name
    folder.mkdir()
    made = Base({**simple_config(folder, documents=38, queries=10), **BASES[name]}, folder / "run")
    for change in ("", *CHANGES):
        config = {**made.config, "run": str(made.run if not change else folder / "changed")}
        arguments = ["mine", str(write_config(folder, config)), *(["--set", change] if change else [])]
        outcome = in_process(arguments, folder)
        if outcome.crash or outcome.code:
            raise RuntimeError(f"{outcome.crash} {outcome.message}")
        made.rows[change] = _rows(Path(config["run"]))
        remove(folder / "changed")
    return made


def _rows(run: Path, without: Collection[str] = ()) -> dict[str, list[str]]:
    layouts = sorted(path.name for path in (run / "dataset").iterdir() if path.is_dir() and path.name not in without)
    return {one: sorted(json.dumps(row, sort_keys=True) for row in dataset_rows(run, one)) for one in layouts}


def run_case_of_run(case: Case, random: Random, folder: Path) -> None:
    """Copy a run, spoil it, and give a command."""
    made = base(random.choice(sorted(BASES)))
    run = folder / "run"
    shutil.copytree(made.run, run, symlinks=True)
    config = write_config(folder, {**made.config, "run": str(run)})
    case.notes.append(yaml.safe_dump(made.config, default_flow_style=True))
    own = _add_files(case, random, run)
    times = 0 if random.random() < 0.1 else random.choice([1, 1, 1, 2])
    changed_files = [path for path in (_change_file(case, random, run) for _ in range(times)) if path is not None]
    command = random.choice(COMMANDS)
    if command == "status":
        case.run(["status", str(run), "--json"], folder)
    elif command == "verify":
        _verify(case, folder, run, changed_files, own)
    elif command == "plan":
        case.run(["plan", str(config), "--json"], folder)
    else:
        change = random.choice(CHANGES) if command == "changed" else ""
        _mine(case, folder, made, changed_files, own, change)
    for path in own:
        if not path.is_file() or path.read_bytes() != OWN:
            case.findings.append(f"a file of the user's is gone: {path.relative_to(folder)}")


def _files(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())


def _add_files(case: Case, random: Random, run: Path) -> list[Path]:
    folders = sorted({run, *(path for path in run.rglob("*") if path.is_dir() and not path.is_symlink())})
    names = ["notes.txt", "my data.json", ".hidden", "mine.parquet.bak", "README"]
    added = []
    for _ in range(random.choice([0, 0, 1, 3])):
        path = random.choice(folders) / random.choice(names)
        if not path.exists():
            path.write_bytes(OWN)
            added.append(path)
            case.notes.append(f"added {path.relative_to(run)}")
    return added


def _change_file(case: Case, random: Random, run: Path) -> Path | None:
    """Spoil a file; return it, or None where it is as it was."""
    files = [path for path in _files(run) if path.read_bytes() != OWN]
    published = [path for path in files if "export" in path.parts and path.suffix in {".parquet", ".jsonl"}]
    path = random.choice(published if published and random.random() < 0.25 else files)
    content = path.read_bytes()
    change = random.choice(
        [
            "truncate",
            "flip",
            "flip",
            "insert",
            "delete",
            "empty",
            "zero tail",
            "garbage",
            "gone",
            "folder",
            "other",
            "0xff",
        ]
    )
    place = random.randrange(len(content)) if content else 0
    if change in {"gone", "folder"}:
        path.unlink()
        if change == "folder":
            path.mkdir()
    elif change == "other":
        path.write_bytes(random.choice(files).read_bytes())
    else:
        path.write_bytes(damaged_content(random, content, change, place))
    case.notes.append(f"{change} at {place} of {len(content)}: {path.relative_to(run)}")
    return None if path.is_file() and path.read_bytes() == content else path


def _mine(case: Case, folder: Path, made: Base, changed_files: list[Path], own: list[Path], change: str) -> None:
    run = folder / "run"
    arguments = ["mine", str(folder / "config.yaml"), *(["--set", change] if change else [])]
    outcome = case.run([*arguments, "--until", "export"], folder)
    if outcome.crash or case.findings:
        return
    if outcome.code:
        in_the_way = outcome.code == REFUSED and any("dataset" in path.parts or "export" in path.parts for path in own)
        if not changed_files and not in_the_way:
            case.findings.append(f"an undamaged run, and exit status {outcome.code}: {outcome.message}")
        return
    hidden = [path for path in changed_files if _unseen(path, made.run / path.relative_to(run))]
    unseen = {path.parent.name for path in hidden}
    try:
        found = _rows(run, without=unseen)
    except Exception as error:  # whatever the reader of a format says
        case.findings.append(f"the training data cannot be read: {type(error).__name__}: {error}")
        return
    wanted = made.rows[change]
    for layout in sorted((found.keys() | wanted.keys()) - unseen):
        if found.get(layout) != wanted.get(layout):
            some = len(set(found.get(layout, [])) & set(wanted.get(layout, [])))
            sizes = f"{len(found.get(layout, []))} rows, {some} of the {len(wanted.get(layout, []))} wanted"
            case.findings.append(f"{layout}: not the training data of an undamaged run: {sizes}")
    data = [path for path in hidden if path.suffix in {".parquet", ".jsonl"}]
    if data and not case.findings:
        _verify(case, folder, run, data, own)


def _unseen(path: Path, before: Path) -> bool:
    """Tell whether published data has another content and its size still: only `verify` reads it again."""
    published = {"dataset", "export"} & set(path.parts)
    same_size = bool(published) and path.is_file() and path.stat().st_size == before.stat().st_size
    return same_size and path.read_bytes() != before.read_bytes()


def _verify(case: Case, folder: Path, run: Path, changed_files: list[Path], own: list[Path]) -> None:
    outcome = case.run(["verify", str(run)], folder, lines=True)
    if outcome.crash or case.findings:
        return
    output = outcome.out + outcome.err
    counted = [path for path in changed_files if belongs(run, path.relative_to(run))]
    like_records = [path for path in own if path.suffix == ".json" and "_units" in path.parts]
    if not changed_files and outcome.code and not like_records:
        case.findings.append(f"nothing is damaged, and exit status {outcome.code}: {output[-300:]}")
    elif counted and outcome.code != 1:
        case.findings.append(f"damage was not found: {', '.join(str(path.relative_to(run)) for path in counted)}")
    elif outcome.code == 1 and counted and not any(_named(path, output) for path in counted):
        case.findings.append(f"damage was not named: {counted[0].relative_to(run)}: {output[-300:]}")


def _named(path: Path, output: str) -> bool:
    """Tell whether a file is named; without its manifest, a stage is not complete."""
    gone = path.name.startswith("_manifest") and "Not complete" in output
    return gone or path.name in output or path.parent.name in output


def belongs(run: Path, path: Path) -> bool:
    """Tell whether a file holds data of a stage, is published, or is a record that is there or has to be.

    The latest run has to have its manifests. Of other settings, a stage without one is a stage that did not end.
    """
    if is_record(path):
        return (run / path).is_file() or path.parent.as_posix() in _latest(run)
    return path.name not in TELLING and not any(part.startswith(PASSING) for part in path.parts[:-1])


def _latest(run: Path) -> set[str]:
    """Return the folders of the stages of the latest run; none where its plan is damaged."""
    try:
        return {stage["folder"] for stage in json.loads((run / "_plan.json").read_bytes())["stages"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def is_record(path: Path) -> bool:
    """Tell whether a file carries its own checksum."""
    inside = path.name.startswith("_manifest") or "_units" in path.parts
    return path.suffix == ".json" and (inside or path.name in {"_plan.json", "dataset.json"})
