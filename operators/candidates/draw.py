"""A draw: in which order eligible candidates are taken as negatives."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from operators.candidates.pairs import Pairs
from operators.candidates.rule import RuleText
from operators.settings import AtLeastOne, AtLeastZero, Settings

# A row of n-tuple has three columns for each.
MOST_NEGATIVES = 1_000

Priority = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Draw(Settings):
    """Chooses negatives among the eligible candidates: those that passed the filters and are inside the window.

    A draw is a class that derives from this one: in a module of its own in operators/candidates/draws/, which is its
    name, or in your own code, named as `module:name`. Its fields are the keys of its section of `select.draws`.

    Attributes:
        strategy: its name; negatives carry it.
        num_negatives: how many each row gets from this draw, at most.
        seed: of what is random; from the second draw of a row on it is mixed with the draw's place.
        source: only candidates that this source named: `search`, or the source of a proposer; any where none is given.
        where: only candidates whose metadata, and those of their query, meet this rule, such as
            `domain == query.domain`.
        range_min: in the place of `select.range_min`, for this draw.
        range_max: in the place of `select.range_max`, for this draw.
        fill: it takes only as many as the draws before it left short of theirs.
        needs: the signals that it reads.
        first_only: it takes the first candidates of each row, so those behind them change nothing.
        only_cosine: it is defined for vectors of length 1 alone.
    """

    strategy: str
    num_negatives: int = Field(default=4, ge=1, le=MOST_NEGATIVES)
    seed: int = 0
    source: str | None = None
    where: RuleText | None = None
    range_min: AtLeastZero | None = None
    range_max: AtLeastOne | None = None
    fill: bool = False

    needs: ClassVar[tuple[str, ...]] = ()
    first_only: ClassVar[bool] = False
    only_cosine: ClassVar[bool] = False

    @abstractmethod
    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        """Return the priority of each pair, float64 of shape (n,): the highest of the free ones of each row are taken.

        Of equal priorities the better-scored candidate is taken first; one of minus infinity is not taken at all. The
        pairs of a row are in the order of their scores. What is random has to come from the keys and the seed
        (`operators.keys.uniform`), so that neither the order of rows nor the number of workers changes it.

        Most draws give a pair one number, whatever is free. Where what is free changes it, a pair that is taken has to
        be taken, too, when others are free no more: only so has `max_rows_per_document` one result.

        Args:
            pairs: all that are eligible, also those that this draw may not take.
            free: those that this draw may still take, bool of shape (n,): no draw before it took them for the row, and
                `max_rows_per_document` leaves them to the row.
        """

    def log_probability(self, pairs: Pairs, free: Mask) -> Priority | None:
        """Return the log-probability that each pair is the first that the draw takes for its row: float64 (n,).

        It is the natural logarithm of the probability, over the seeds, among the free pairs; minus infinity for the
        others. Compute it without the probability itself, which may be too small for a float (`log_shares` in
        operators/segments.py). A loss subtracts it from its logits (sampled softmax; Bengio and Senecal, "Adaptive
        importance sampling", IEEE TNN 19(4), 2008). None where the draw takes nothing at random.

        Args:
            pairs: as for `priority`.
            free: as for `priority`.
        """
        del pairs, free
        return None


def labels_of(draws: Sequence[Draw]) -> list[str]:
    """Return the name of each draw: its strategy; with its place from 1 where several have the same."""
    strategies = [one.strategy for one in draws]
    places = enumerate(strategies, start=1)
    return [name if strategies.count(name) == 1 else f"{name} ({place})" for place, name in places]
