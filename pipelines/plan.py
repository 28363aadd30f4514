"""The plan of a run: what would be reused, what would run, and what it would need."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from operators.documents.sources import SourceFile
from pipelines.pipeline import Pipeline, Planned
from pipelines.stages.encode import EncodeTexts
from pipelines.stages.model import TryModel
from pipelines.stages.prepare_corpus import PrepareCorpus
from pipelines.stages.prepare_queries import PrepareQueries

FLOAT_BYTES = {"float16": 2, "float32": 4}


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """Say of every stage what would happen, and what the rest of the run needs, as far as it is known."""
    planned = pipeline.plan()
    return {
        "run": pipeline.config.run,
        "engine": pipeline.config.engine.name,
        "stages": {
            one.stage.name: {"state": _state(one), "fingerprint": one.mark, "rows": _rows(one), "needs": _needs(one)}
            for one in planned
        },
    }


def show(described: dict[str, Any]) -> None:
    """Print a plan as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "state", "rows", "needs"):
        table.add_column(name, overflow="fold", justify="right" if name == "rows" else "left")
    for name, one in described["stages"].items():
        table.add_row(name, one["state"], "" if one["rows"] is None else f"{one['rows']:,}", one["needs"])
    Console(width=120).print(table)


def _state(planned: Planned) -> str:
    if planned.manifest is not None:
        return "reuse"
    return "go on" if planned.started else "run"


def _rows(planned: Planned) -> int | None:
    return None if planned.manifest is None else int(planned.manifest["rows_out"])


def _needs(planned: Planned) -> str:
    stage = planned.stage
    if isinstance(stage, PrepareCorpus):
        return _sources(stage.files)
    if isinstance(stage, TryModel):
        return stage.describe()
    if isinstance(stage, PrepareQueries):
        return f"{_sources((*stage.queries, *stage.judgements))}, judgements included"
    if isinstance(stage, EncodeTexts):
        vectors = _vectors_size(planned, stage.config.vector_dtype)
        return (f"{stage.device} x {stage.pool.workers}, {stage.config.dtype}, " if stage.weights else "") + vectors
    return ""


def _sources(files: Sequence[SourceFile]) -> str:
    sizes = {file.uri: file.size or 0 for file in files}  # queries and judgements may be in the same files
    named = "1 file" if len(sizes) == 1 else f"{len(sizes):,} files"
    return f"{decimal(sum(sizes.values()))} of sources in {named}"


def _vectors_size(planned: Planned, dtype: str) -> str:
    if planned.manifest is None:
        return f"{FLOAT_BYTES[dtype]} bytes x dimension for each vector"
    width = FLOAT_BYTES[planned.manifest["vector_dtype"]]
    size = planned.manifest["rows_out"] * planned.manifest["dimension"] * width
    return f"{decimal(size)} of vectors"
