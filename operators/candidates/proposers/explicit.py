"""Propose documents that were judged not to be relevant."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.proposer import Proposer
from operators.errors import listed
from operators.schemas import PAIR, to_numpy


class Explicit(Proposer):
    """Judged negatives: documents whose judgement has a score of 0 or less.

    Attributes:
        labels: only judgements with one of these labels; all where none are named.
    """

    judged = True
    labels: tuple[str, ...] = ()

    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        """Return the judged negatives, the highest scores first; of equal scores the smaller keys."""
        del queries
        negative = judgements.filter(pc.less_equal(judgements.column("relevance"), pa.scalar(0, pa.float32())))
        if self.labels:
            negative = negative.filter(pc.is_in(negative.column("label"), pa.array(self.labels, pa.string())))
        order = np.lexsort((to_numpy(negative, "doc_key"), -to_numpy(negative, "relevance")))
        return negative.select(list(PAIR)).take(pa.array(order))

    def reason_of_nothing(self) -> str:
        """Return which labels no negative judgement has."""
        labels = f" and one of the labels {listed(self.labels)}" if self.labels else ""
        return f"no judgement has a score of 0 or less{labels}"
