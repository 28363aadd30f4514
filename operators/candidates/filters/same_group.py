"""Drop candidates of the group of a positive."""

from typing import Self

import numpy as np
from pydantic import model_validator

from operators.candidates.filter import Filter, Mask
from operators.candidates.groups import group_column
from operators.candidates.pairs import Pairs
from operators.plugins import function_named


class SameGroup(Filter):
    """Candidates that have the same value of a field of metadata, or of a function, as a positive of the query.

    Passages of one page, documents of one parent or place: what is true of the positive may be true of them. A document
    without a value is in no group.

    Attributes:
        field: the metadata that documents of a group have in common.
        function: in its place a function of your own, as `module:function`. It gets documents as an Arrow table with
            the columns `text` and `metadata` (a JSON object or null), and returns for each a text that its group has in
            common, or None: what sounds alike, the host of a URL. It has to depend on each document alone.
    """

    reason = "same_group"
    suspected = True
    field: str | None = None
    function: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.field is None) == (self.function is None):
            raise ValueError("field or function: name one of them")
        if self.function is not None:
            function_named(self.function)
        return self

    @property
    def group(self) -> str:
        """What groups documents: the field, or the function."""
        return str(self.field if self.function is None else self.function)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Whether a candidate shares the group."""
        return (group_column(self.group),)

    def drops(self, pairs: Pairs) -> Mask:
        """Return which candidates share a group."""
        return np.asarray(pairs[group_column(self.group)] == 1)
