"""Evaluate the encoder and the index: rank the corpus for the judged queries of a split, and score the rankings."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures
import numpy as np
import pandas as pd
import pyarrow as pa

from operators.errors import InputError
from operators.schemas import to_numpy
from pipelines.runtime.execution import StageOutput
from pipelines.runtime.progress import Progress
from pipelines.runtime.session import Session, session
from pipelines.text.config import Config

MEASURES: Mapping[str, object] = {
    "ndcg@10": ir_measures.nDCG @ 10,
    "mrr@10": ir_measures.RR @ 10,
}


def evaluate(config: Config, split: str | None = None) -> dict[str, Any]:
    """Measure the ranking of the corpus on judgements; reuses the vectors and the index of the run.

    Args:
        config: the configuration of the run.
        split: of a BEIR folder, `test` where none is given. Other data has no splits: its judgements are taken.

    Returns:
        `run`, `split`, `queries`, `seconds` and `measures` (name -> mean over the judged queries).

    Raises:
        InputError: a split of data that has none, or anything that `run` refuses.
    """
    began = time.perf_counter()
    if config.data.beir is not None:
        split = split or "test"
        config = config.model_copy(update={"data": config.data.model_copy(update={"split": split})})
    elif split is not None:
        raise InputError("--split: only a BEIR folder has splits. Name the judgements to score in data.judgements.")
    config = config.model_copy(update={"contamination": None})  # what is measured on must be there
    with session(config) as at_work:
        measures, queries = at_work.repaired(lambda: _measured(at_work, config.search.k))
    seconds = round(time.perf_counter() - began, 2)
    return {"run": config.run, "split": split, "queries": queries, "seconds": seconds, "measures": measures}


def _measured(at_work: Session, k: int) -> tuple[dict[str, float], int]:
    outcome = at_work.pipeline.run("search/all", at_work.engine, Progress(), recorded=False)
    searched, prepared = outcome.completed["search/all"], outcome.completed["prepare/queries"]
    return measure(searched, prepared, k), prepared.manifest["rows_out"]


def measure(searched: StageOutput, prepared: StageOutput, k: int) -> dict[str, float]:
    """Return nDCG@10, MRR@10 and recall at 10 and at k of what search found, as means over the judged queries.

    The measures are those of trec_eval, by way of ir-measures.
    """
    judged = _together(prepared, "judgements", ["query_key", "doc_key", "relevance"])
    found = _together(searched, "candidates", ["query_key", "doc_key", "score", "rank"])
    qrels = pd.DataFrame(
        {
            "query_id": to_numpy(judged, "query_key").astype(str),
            "doc_id": to_numpy(judged, "doc_key").astype(str),
            "relevance": np.ceil(to_numpy(judged, "relevance")).astype(int),
        }
    )
    run = pd.DataFrame(
        {
            "query_id": to_numpy(found, "query_key").astype(str),
            "doc_id": to_numpy(found, "doc_key").astype(str),
            # By rank: trec_eval would break ties between equal scores by its own rule.
            "score": -to_numpy(found, "rank").astype(np.float64),
        }
    )
    measures = {**MEASURES, **{f"recall@{depth}": ir_measures.R @ depth for depth in sorted({10, k})}}
    scored = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    return {name: float(scored[measure]) for name, measure in measures.items()}


def _together(stage: StageOutput, kind: str, columns: Sequence[str]) -> pa.Table:
    return pa.concat_tables([stage.folder.read_table(part, columns) for part in stage.parts(kind)])
