"""Publish the output of a stage: `<run>/dataset` is switched to its folder in one step, and `dataset.json` lists it."""

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from operators.errors import InputError
from pipelines.runtime.storage.run_directory import RunDirectory, StageFolder

DATASET = "dataset"
RECORD = "dataset.json"
_TARGET = re.compile(r"\w+(?:/\w+)?/[0-9a-f]{16}")


def check_published(run: RunDirectory, stages: Sequence[str]) -> None:
    """Refuse a run directory in which something else is where the dataset is published.

    Args:
        run: the run directory.
        stages: the names of stages, of which one has written there if a run has begun.

    Raises:
        InputError: `<run>/dataset` is not a link of ours, or the run directory is somebody else's.
    """
    link = run.path(DATASET)
    if run.is_local and os.path.lexists(link) and not (os.path.islink(link) and _TARGET.fullmatch(os.readlink(link))):
        raise InputError(
            f"run: {link} is not a link that hardneg made. An older version has a folder there, and so has a copy that "
            f"follows links. Move it, or choose another run directory."
        )
    if not run.is_used(stages):
        other = next((name for name in ("config.json", RECORD, "report") if run.exists(name)), None)
        if other is not None:
            raise InputError(
                f"run: {run.uri.rstrip('/')}/{other} is not of a run of hardneg, which would replace it. "
                f"Choose another run directory."
            )


def publish(
    run: RunDirectory, folder: StageFolder, formats: Mapping[str, Sequence[str]], files: Sequence[Mapping[str, Any]]
) -> str:
    """Make the folder of a stage the dataset of the run; return the URI under which its formats are.

    The files stay where the stage wrote them. On a local file system `<run>/dataset` is a link to their folder, which
    is switched in one step; an object store has no links, so there the URI is that of the folder. A reader sees the
    whole dataset of one export or of another, and the exports before stay.

    Args:
        run: the run directory.
        folder: of the stage.
        formats: the folders in it, and for each the columns to train on.
        files: records of all files, with paths in the folder.
    """
    place = folder.uri[len(run.uri.rstrip("/")) + 1 :]
    root = f"{run.uri.rstrip('/')}/{DATASET}" if _link(run, place) else folder.uri
    written = [{"path": f"{place}/{file['path']}", **{key: file[key] for key in ("bytes", "xxh3")}} for file in files]
    record = {"folder": place, "formats": list(formats), "columns": dict(formats), "files": written}
    if run.read_sealed(RECORD) != record:
        run.write_sealed(RECORD, record)
    return root


def _link(run: RunDirectory, place: str) -> bool:
    """Point `<run>/dataset` to a folder of the run; tell whether the file system has links."""
    if not run.is_local:
        return False
    link = Path(run.path(DATASET))
    if link.is_symlink() and os.readlink(link) == place:
        return True
    for left in link.parent.glob(f"{DATASET}.*.unfinished"):
        if left.is_symlink():
            left.unlink()
    unfinished = link.with_name(f"{DATASET}.{uuid.uuid4().hex}.unfinished")
    try:
        unfinished.symlink_to(place, target_is_directory=True)
    except OSError:  # some file systems have none; `dataset.json` names the folder
        return False
    try:
        unfinished.replace(link)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    return True
