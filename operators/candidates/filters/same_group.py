"""Drop candidates of the group of a positive."""

import numpy as np

from operators.candidates.filter import Filter, Mask
from operators.candidates.groups import group_column
from operators.candidates.pairs import Pairs


class SameGroup(Filter):
    """Candidates that have the same value of a field of metadata as a positive document of the query.

    Passages of one page, documents of one parent or place: what is true of the positive may be true of them. A document
    without a value is in no group.

    Attributes:
        field: the metadata that documents of a group have in common.
    """

    reason = "same_group"
    suspected = True
    field: str

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Whether a candidate shares the group."""
        return (group_column(self.field),)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates share a group."""
        return np.asarray(pairs[group_column(self.field)] == 1)
