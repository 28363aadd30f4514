"""Publish an export: `<run>/dataset/<format>/`, always of the latest selection, with a card beside the files."""

from collections.abc import Mapping
from typing import Any

from operators.datasets.card import CardFacts, card
from operators.datasets.formats import JSONL_ONLY
from pipelines.config import Config, resolved
from pipelines.pipeline import Outcome
from pipelines.storage.run_directory import RunDirectory

DATASET = "dataset"
_PUBLISHED = "published.json"


def publish(run: RunDirectory, config: Config, outcome: Outcome) -> dict[str, str]:
    """Copy the export's files to `<run>/dataset/`, unless they are there; return format -> URI.

    The note that says which export lies there is removed first and written last, so a killed copy is made again.
    """
    exported = outcome.completed["export"]
    outputs: dict[str, str] = {layout: f"{run.uri.rstrip('/')}/{DATASET}/{layout}" for layout in config.export.formats}
    note = {"export": exported.manifest["fingerprint"]}
    if run.exists(f"export/{_PUBLISHED}") and run.read_json(f"export/{_PUBLISHED}") == note and run.exists(DATASET):
        return outputs
    run.remove(f"export/{_PUBLISHED}")
    run.remove(DATASET)
    for layout in config.export.formats:
        for part in exported.parts(layout):
            _copy(run, exported.folder.path(part["path"]), f"{DATASET}/{part['path']}")
        text = card(_facts(config, outcome, layout))
        run.write_bytes(f"{DATASET}/{layout}/README.md", text.encode())
    run.write_json(f"export/{_PUBLISHED}", note)
    return outputs


def _copy(run: RunDirectory, source: str, name: str) -> None:
    target = run.path(name)
    run.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
    run.fs.copy(source, target)


def _facts(config: Config, outcome: Outcome, layout: Any) -> CardFacts:  # noqa: ANN401 - one of the formats
    selected: Mapping[str, Any] = outcome.completed["select"].manifest
    return CardFacts(
        layout=layout,
        file_format="jsonl" if layout in JSONL_ONLY else config.export.file_format,
        rows=outcome.completed["export"].manifest["rows"][layout],
        num_negatives=config.select.num_negatives,
        counts={"chosen": selected["rows_out"], **selected["dropped"]},
        pairs={"all": selected["pairs"], "short": selected["short_rows"], "empty": selected["empty_rows"]},
        configuration=resolved(config),
    )
