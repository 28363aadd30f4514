"""What the search leaves to those after it: positives, and candidates of several rounds."""

import numpy as np
import pyarrow as pa

from operators.schemas import CANDIDATES, POSITIVES, concat, numbers
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder


def positives_of(folder: StageFolder, part: Record) -> pa.Table:
    """Read a partition of positives, without their vectors (schema POSITIVES)."""
    return folder.read_table(part, POSITIVES.names)


def replaced(candidates: pa.Table, deeper: pa.Table) -> pa.Table:
    """Put the deeper candidates of some queries in the place of what was found for them before."""
    others = ~np.isin(numbers(candidates, "query_key"), np.unique(numbers(deeper, "query_key")))
    return concat([candidates.filter(pa.array(others)), deeper], CANDIDATES)
