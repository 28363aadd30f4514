"""Publish an export: `<run>/dataset` is switched to it in one step, and `<run>/dataset.json` lists its files."""

import io
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from operators.datasets.card import CardFacts, card
from operators.datasets.formats import JSONL_ONLY, Format
from operators.errors import InputError
from pipelines.config import Config, resolved
from pipelines.pipeline import Outcome
from pipelines.storage.folder import Folder
from pipelines.storage.records import record_of
from pipelines.storage.run_directory import RunDirectory

DATASET = "dataset"
RECORD = "dataset.json"
CARD = "README.md"
EDITED_CARD = "README.edited.md"
_TARGET = re.compile(r"export/[0-9a-f]{16}")


def check_published(run: RunDirectory) -> None:
    """Refuse a run directory in which something else is where the dataset is published.

    Raises:
        InputError: `<run>/dataset` is not a link of ours, or the run directory is somebody else's.
    """
    link = run.path(DATASET)
    if run.is_local and os.path.lexists(link) and not (os.path.islink(link) and _TARGET.fullmatch(os.readlink(link))):
        raise InputError(f"run: {link} is not a link that hardneg made. Move it, or choose another run directory.")
    if not run.is_used():
        other = next((name for name in ("config.json", RECORD, "report") if run.exists(name)), None)
        if other is not None:
            raise InputError(
                f"run: {run.uri.rstrip('/')}/{other} is not of a run of hardneg, which would replace it. "
                f"Choose another run directory."
            )


def publish(run: RunDirectory, config: Config, outcome: Outcome) -> dict[str, str]:
    """Make an export the dataset of the run; return format -> URI.

    The files stay where the export wrote them. On a local file system `<run>/dataset` is a link to their folder, which
    is switched in one step; an object store has no links, so there the URI is that of the folder. A reader sees the
    whole dataset of one export or of another, and the exports before stay.
    """
    exported = outcome.completed["export"]
    cards = [_write_card(exported.folder, layout, _facts(config, outcome, layout)) for layout in config.export.formats]
    place = exported.folder.uri[len(run.uri.rstrip("/")) + 1 :]
    root = f"{run.uri.rstrip('/')}/{DATASET}" if _link(run, place) else exported.folder.uri
    parts = [part for layout in config.export.formats for part in exported.parts(layout)]
    files = [{"path": f"{place}/{part['path']}", **{key: part[key] for key in ("bytes", "xxh3")}} for part in parts]
    files += [{**written, "path": f"{place}/{written['path']}"} for written in cards]
    record = {"export": place, "formats": list(config.export.formats), "files": files}
    if run.read_sealed(RECORD) != record:
        run.write_sealed(RECORD, record)
    return {layout: f"{root}/{layout}" for layout in config.export.formats}


def _write_card(folder: Folder, layout: Format, facts: CardFacts) -> dict[str, Any]:
    """Write the card of a format. A card that somebody edited is kept beside it."""
    name, text = f"{layout}/{CARD}", card(facts).encode()
    there = folder.read_bytes(name) if folder.exists(name) else b""
    if there == text:
        return record_of(name, io.BytesIO(text))
    if there and not text.startswith(there):
        folder.write_bytes(f"{layout}/{EDITED_CARD}", there)
    return folder.write_bytes(name, text)


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


def _facts(config: Config, outcome: Outcome, layout: Format) -> CardFacts:
    selected: Mapping[str, Any] = outcome.completed["select"].manifest
    checksums = [part["xxh3"] for part in outcome.completed["export"].parts(layout)]
    return CardFacts(
        layout=layout,
        file_format="jsonl" if layout in JSONL_ONLY else config.export.file_format,
        rows=outcome.completed["export"].manifest["rows"][layout],
        num_negatives=config.select.num_negatives,
        counts={"chosen": selected["rows_out"], **selected["dropped"]},
        pairs={"all": selected["pairs"], "short": selected["short_rows"], "empty": selected["empty_rows"]},
        configuration=resolved(config),
        content=xxhash.xxh3_128_hexdigest(" ".join(checksums).encode()),
    )
