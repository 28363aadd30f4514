"""Verify a run directory: every file that a stage wrote, and every record, against sizes and checksums."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import track

from operators.errors import InputError
from operators.storage import as_input_error
from pipelines.runtime.publication import DATASET, RECORD
from pipelines.runtime.storage.records import UNITS, Record, difference, files_in, is_unsealed, record_of
from pipelines.runtime.storage.run_directory import PLAN, STAGE_FOLDER, RunDirectory

AT_A_TIME = 8
SHOWN = 5
_MANIFEST = "_manifest"


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written: its path in the run directory, and what was found."""

    path: str
    found: str


def verify(run: RunDirectory) -> dict[str, Any]:
    """Compare every file of a run directory with what was written.

    That is the data of every complete stage, the dataset with its cards, and the records: manifests, those of units and
    steps, the plan. The report and files of other origin are not looked at.

    Returns:
        `run`, `state` (`whole`, `damaged`, or `incomplete` where a stage of the latest run is not complete and
        nothing is damaged), `files` and `bytes` (compared), `damaged` (a list of {path, found}), `incomplete` (the
        names of stages), `older` (folders of a version that kept no checksums: nothing there is compared, or used) and
        `other` (folders with damaged files that the latest run does not use).

    Raises:
        InputError: no run has written there, or the storage cannot be read.
    """
    with as_input_error("run", run.uri, run.storage_options):
        sizes = run.sizes()
        records, older = _records(run, [path for path in sizes if _is_record(path)])
        if not records:
            if older:
                raise InputError(
                    f"{run.uri}: a version of hardneg that kept no checksums wrote this run: there is nothing to "
                    f"compare. This version reuses nothing of it; mine into another run directory."
                )
            raise InputError(f"{run.uri}: no run has written here. Check the path.")
        damaged = [Damage(path, "the record cannot be read") for path, record in records.items() if record is None]
        expected = {record["path"]: record for record in _expected(records)}
        found = _compared(run, expected, sizes)
        damaged += [Damage(path, what) for path, what in found.items() if what is not None]
        damaged += _damaged_link(run, records)
    incomplete = [
        stage["name"]
        for stage in (records.get(PLAN) or {}).get("stages", [])
        if f"{stage['folder']}/{stage['manifest']}" not in records
    ]
    latest = {"", *(stage["folder"] for stage in (records.get(PLAN) or {}).get("stages", []))}
    return {
        "run": run.uri,
        "state": "damaged" if damaged else "incomplete" if incomplete else "whole",
        "files": len(expected),
        "bytes": sum(record["bytes"] for record in expected.values()),
        "damaged": [{"path": one.path, "found": one.found} for one in sorted(damaged, key=lambda one: one.path)],
        "incomplete": incomplete,
        "older": older,
        "other": sorted({_stage_of(one.path) for one in damaged} - latest),
    }


def _records(run: RunDirectory, paths: Sequence[str]) -> tuple[dict[str, dict[str, Any] | None], list[str]]:
    """Read the records: those of this version, None where one is damaged; and the folders of an older version."""
    records = run.read_many_sealed(paths)
    others = [path for path in paths if path not in records]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        contents = dict(zip(others, pool.map(run.read_bytes, others), strict=True))
    unknown = {path for path, content in contents.items() if is_unsealed(content)}
    older = {_stage_of(path) for path in paths} - {_stage_of(path) for path in paths if path not in unknown} - {""}
    if len(unknown) < len(paths):  # else the plan is of the older version too
        unknown = {path for path in unknown if _stage_of(path) in older}
    return {path: records.get(path) for path in paths if path not in unknown}, sorted(older)


def _stage_of(path: str) -> str:
    """Return the folder of the stage that a file is in; empty for a file outside of all."""
    found = STAGE_FOLDER.match(path)
    return found.group().rstrip("/") if found else ""


def _is_record(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return path in {PLAN, RECORD} or (
        name.endswith(".json") and (name.startswith(_MANIFEST) or UNITS in folder.split("/"))
    )


def _expected(records: Mapping[str, dict[str, Any] | None]) -> Iterator[Record]:
    """Yield the record of every file that a complete stage left or that was published, by its path in the run."""
    for path, record in records.items():
        if record is None:
            continue
        folder, _, name = path.rpartition("/")
        if name.startswith(_MANIFEST):
            yield from ({**file, "path": f"{folder}/{file['path']}"} for file in files_in(record["parts"]))
        elif path == RECORD:
            yield from files_in(record)


def _compared(run: RunDirectory, expected: Mapping[str, Record], sizes: Mapping[str, int]) -> dict[str, str | None]:
    def compare(path: str) -> str | None:
        differs = difference(expected[path], sizes.get(path))
        if differs is not None:
            return differs
        with run.fs.open(run.path(path), "rb") as content:
            found = record_of(path, content)
        return difference(expected[path], found["bytes"], found["xxh3"])

    console = Console(stderr=True)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = pool.map(compare, expected)
        shown = track(
            results, "comparing", len(expected), console=console, transient=True, disable=not console.is_terminal
        )
        return dict(zip(expected, shown, strict=True))


def _damaged_link(run: RunDirectory, records: Mapping[str, dict[str, Any] | None]) -> list[Damage]:
    published = records.get(RECORD)
    link = run.path(DATASET)
    if not run.is_local or published is None or (os.path.islink(link) and os.readlink(link) == published["folder"]):
        return []
    return [Damage(DATASET, f"it is not the link to {published['folder']} that was made")]


def show(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a result: what is damaged, and what to do."""
    for one in result["damaged"]:
        yield f"{one['path']}: {one['found']}"
    if result["damaged"]:
        number = len(result["damaged"])
        named = (
            "1 file is damaged or was changed. Move or delete it"
            if number == 1
            else (f"{number:,} files are damaged or were changed. Move or delete them")
        )
        yield (f"{named}, and give the command of the run again: it writes what its settings need.")
        if result["other"]:
            yield (
                f"The latest run does not use {_named(result['other'])}: delete these folders, or give the command "
                f"with the configuration that wrote them."
            )
    elif result["incomplete"]:
        yield f"Not complete: {', '.join(result['incomplete'])}. The same command goes on from there."
    else:
        named = "1 file" if result["files"] == 1 else f"{result['files']:,} files"
        yield f"No damage: {named} ({decimal(result['bytes'])}), each with the size and checksum that were recorded."
    if result["older"]:
        yield f"An older version wrote {_named(result['older'])}: nothing there is used. Delete these folders."


def _named(folders: Sequence[str]) -> str:
    return ", ".join(folders[:SHOWN]) + (f" and {len(folders) - SHOWN:,} more" if len(folders) > SHOWN else "")
