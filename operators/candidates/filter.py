"""A filter: which candidates are not fit to be negatives, and the reason that the report counts."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from operators.candidates.pairs import Pairs
from operators.settings import Settings

Mask = npt.NDArray[np.bool_]

# Reasons that are counted beside those of filters.
NEGATIVE = "negative"  # chosen
NOT_DRAWN = "not_drawn"  # eligible, but enough negatives were already chosen
CAPPED = "max_rows_per_document"  # eligible, but the document serves as many rows already
SHORT_ROW = "short_row"  # given back by a row that stayed short
NO_RULE = "where"  # passed the filters, and meets the rule of no draw
# A positive, or its text under another id.
POSITIVES = ("positive", "positive_text")
# Outside the window of the candidates that passed the filters: before its beginning, after its end.
WINDOW = ("range_min", "range_max")


class Filter(Settings):
    """Drops candidates.

    A filter is a class that derives from this one: in a module of its own in operators/candidates/filters/, which is
    its name, or in your own code, named as `module:name`. Its fields are the keys of its section of `select.filters`.

    Attributes:
        filter: its name.
        reason: under which the report counts what it drops.
        suspected: what it drops is probably relevant: a suspected false negative.
        needs: the signals that it reads.
    """

    filter: str = ""

    reason: ClassVar[str]
    suspected: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    def depth(self) -> int | None:
        """Return the rank in the search from which on it drops every candidate; None where there is no such rank."""
        return None

    @abstractmethod
    def drops(self, pairs: Pairs) -> Mask:
        """Return which pairs are dropped: bool of shape (n,). A pure function of each pair alone."""
