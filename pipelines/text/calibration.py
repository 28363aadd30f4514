"""Calibrate the false-negative probability on the judgements of a run: hide known positives, fit, and measure."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.false_negatives.calibrate import Calibration, calibrate
from operators.candidates.false_negatives.config import FalseNegativeConfig
from operators.candidates.false_negatives.frontier import Views
from operators.candidates.signal import Signal
from operators.errors import InputError
from operators.schemas import to_numpy
from operators.segments import starts_of
from pipelines.reports.charts import frontier_chart
from pipelines.runtime.engines.ray_cluster import RayCluster
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.progress import Progress
from pipelines.runtime.session import Session, session
from pipelines.runtime.stage import Stage
from pipelines.text.config import Config
from pipelines.text.stages.calibrate.views import COUNTS, VIEWS
from pipelines.text.stages.encode import EncodeTexts

FOLDER = "calibration"
MODEL = f"{FOLDER}/model.json"


class CalibratedConfig(Config):
    """A configuration whose stages end with the views of hidden positives."""

    def used_signals(self) -> tuple[Signal, ...]:
        """Return none: a calibration ends with the search."""
        return ()

    def stages(self, cluster: RayCluster | None) -> Sequence[Stage]:
        """Return the stages up to search, and the one that hides positives."""
        from pipelines.text.pipeline import calibration_stages_of

        return calibration_stages_of(self, cluster)


def run_calibration(config: Config) -> dict[str, Any]:
    """Calibrate; reuses what a run with the same configuration has done already.

    Args:
        config: the configuration of the run.

    Returns:
        `run`, `model` (its URI), `how`, `hidden`, `views`, `queries`, `skill`, `unjudged_share`, `frontier` (a list of
        points), `known` (positives and queries, and those of queries with several) and `seconds`.

    Raises:
        InputError: every query has one positive, so none can be hidden; or anything that `mine` refuses.
    """
    began = time.perf_counter()
    of_views = CalibratedConfig(
        **{name: getattr(config, name) for name in Config.model_fields} | _without_model(config)
    )
    with session(of_views) as at_work:
        calibration, counts = at_work.repaired(lambda: _calibrated(at_work, config))
        result = {**_result(config, calibration), "known": counts}
        run = at_work.pipeline.run_directory
        run.write_bytes(MODEL, _as_json(calibration.model.model_dump(mode="json")))
        run.write_bytes(f"{FOLDER}/calibration.json", _as_json(result))
        run.write_bytes(f"{FOLDER}/frontier.svg", frontier_chart(result["frontier"]).encode())
        result |= {"model": f"{run.uri.rstrip('/')}/{MODEL}"}
    return {"run": config.run, **result, "seconds": round(time.perf_counter() - began, 2)}


def _without_model(config: Config) -> dict[str, Any]:
    """Return the sections that name a model, without it: it may be for other vectors than those of this run."""
    limits = {"max_false_negative_probability": None, "target_false_negative_rate": None}
    return {"false_negatives": None, "select": config.select.model_copy(update=limits)}


def _calibrated(at_work: Session, config: Config) -> tuple[Calibration, dict[str, int]]:
    """Return the calibration, and how many positives and queries there are (COUNTS)."""
    progress = Progress()
    outcome = at_work.pipeline.run(VIEWS, at_work.engine, progress, recorded=False)
    candidates, shown = _views(outcome.completed[VIEWS])
    origin = to_numpy(shown, "origin")[starts_of(to_numpy(shown, "query_key"))]
    if not len(origin):
        raise InputError(
            "data: no query has two positives of which the search found candidates, so none can be hidden. Use the "
            "default model (false_negatives.model: default)."
        )
    window = (min(config.select.negatives_per_row, config.search.k), config.search.k)
    about = {"encoder": str(config.encoder.model), "k": config.search.k}
    encoder = next(stage.config for stage in at_work.pipeline.stages if isinstance(stage, EncodeTexts))
    used = config.false_negatives or FalseNegativeConfig()
    counts = {name: outcome.completed[VIEWS].manifest[name] for name in COUNTS}
    positives, queries, several, of_several = counts.values()
    views = Views.of(candidates, shown, origin, (positives / queries) / (several / of_several))
    progress.say("calibrate: fitting the model, and measuring rules on what is hidden")
    return calibrate(views, used, window, encoder.similarity, about), counts


def _views(stage: StageOutput) -> tuple[pa.Table, pa.Table]:
    """Return the views of all partitions, numbered anew."""
    first = 0
    tables: dict[str, list[pa.Table]] = {"views": [], "shown": []}
    for views, shown in zip(*(stage.parts(kind) for kind in tables), strict=True):
        judged = stage.folder.read_table(shown)
        for kind, table in (("views", stage.folder.read_table(views)), ("shown", judged)):
            number = to_numpy(table, "query_key") + first
            tables[kind].append(table.set_column(0, table.schema.field(0), pa.array(number)))
        first += len(np.unique(to_numpy(judged, "query_key")))
    return pa.concat_tables(tables["views"]).combine_chunks(), pa.concat_tables(tables["shown"]).combine_chunks()


def _result(config: Config, calibration: Calibration) -> dict[str, Any]:
    found = {name: _known(getattr(calibration, name)) for name in ("how", "hidden", "views", "queries", "skill")}
    points = [{name: _known(value) for name, value in asdict(point).items()} for point in calibration.points]
    share = (config.false_negatives or FalseNegativeConfig()).unjudged_share
    return {**found, "unjudged_share": share, "frontier": points}


def _known(value: object) -> object:
    """Return None for a number that is not known, as of a rule that leaves no negatives."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_json(content: object) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
