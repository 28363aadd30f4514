"""Evaluate the encoder and the index: rank the corpus for the judged queries of a split, and score the rankings."""

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
import pandas as pd
import pyarrow as pa

from operators.schemas import numbers
from pipelines.execution import Completed

MEASURES: Mapping[str, object] = {
    "ndcg@10": ir_measures.nDCG @ 10,
    "mrr@10": ir_measures.RR @ 10,
}


def measure(searched: Completed, prepared: Completed, k: int) -> dict[str, float]:
    """Return nDCG@10, MRR@10 and recall at 10 and at k of what search found, as means over the judged queries.

    The measures are those of trec_eval, by way of ir-measures.
    """
    judged = _together(prepared, "judgements", ["query_key", "doc_key", "judged"])
    found = _together(searched, "candidates", ["query_key", "doc_key", "score", "rank"])
    qrels = pd.DataFrame(
        {
            "query_id": numbers(judged, "query_key").astype(str),
            "doc_id": numbers(judged, "doc_key").astype(str),
            "relevance": np.ceil(numbers(judged, "judged")).astype(int),
        }
    )
    run = pd.DataFrame(
        {
            "query_id": numbers(found, "query_key").astype(str),
            "doc_id": numbers(found, "doc_key").astype(str),
            # By rank: trec_eval would break ties between equal scores by its own rule.
            "score": -numbers(found, "rank").astype(np.float64),
        }
    )
    measures = {**MEASURES, **{f"recall@{depth}": ir_measures.R @ depth for depth in sorted({10, k})}}
    scored = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    return {name: float(scored[measure]) for name, measure in measures.items()}


def _together(stage: Completed, kind: str, columns: Sequence[str]) -> pa.Table:
    return pa.concat_tables([stage.folder.read_table(part, columns) for part in stage.parts(kind)])
