"""How much of its text a candidate shares with a positive of its query: resemblance, estimated from signatures."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from operators.candidates.comparison import Comparison, rows_of
from operators.schemas import PAIR, to_numpy
from operators.segments import join_sorted_in_blocks, starts_of
from operators.signatures import SIGNATURE, as_column, estimates, is_blank, signatures_in, signatures_of

# The signal.
RESEMBLANCE = "max_positive_resemblance"
# Pairs of a candidate and a positive that are compared at a time: some 400 bytes for each.
_PAIRS_AT_ONCE = 1 << 15


class Resemblance(Comparison):
    """Gives the highest resemblance of each candidate to a positive of its query."""

    name = RESEMBLANCE
    reads = ("text",)

    @property
    def schema(self) -> pa.Schema:
        """The signature of a document: `signature`."""
        return pa.schema({"doc_key": pa.int64(), "signature": SIGNATURE})

    def settings(self) -> Mapping[str, Any]:
        """Return the version of the library: another may give other signatures."""
        return {"rensa": version("rensa")}

    def features(self, documents: pa.Table) -> pa.Table:
        """Return the signatures of documents."""
        column = as_column(signatures_of(documents.column("text")))
        return pa.table([documents.column("doc_key"), column], schema=self.schema)

    def comparable(self, features: pa.Table) -> Mapping[str, int]:
        """Return how many documents have a text."""
        return {"text": int((~is_blank(signatures_in(features.column("signature")))).sum())}

    def warning(self, what: str) -> str:
        """Say that there are no texts."""
        return f"select.{RESEMBLANCE}: no candidate has a {what} to compare with those of the positives"

    def __call__(self, candidates: pa.Table, positives: pa.Table, features: pa.Table) -> pa.Table:
        """Estimate: 1 for a copy, 0 for a candidate without a text or of a query without positives."""
        values = signatures_in(features.column("signature"))
        blank, positives = is_blank(values), positives.sort_by("query_key")
        candidate, positive = (rows_of(features, table) for table in (candidates, positives))
        highest = np.zeros(candidates.num_rows, dtype=np.float32)
        asked, of_positive = (to_numpy(table, "query_key") for table in (candidates, positives))
        for at, judged in join_sorted_in_blocks(asked, of_positive, _PAIRS_AT_ONCE):
            estimate = estimates(values[candidate[at]], values[positive[judged]])
            starts = starts_of(at)
            once = at[starts]  # the pairs of a candidate may go on in the next block
            highest[once] = np.maximum(highest[once], np.maximum.reduceat(estimate, starts))
        highest[blank[candidate]] = 0
        return candidates.select(list(PAIR)).append_column(RESEMBLANCE, pa.array(highest))
