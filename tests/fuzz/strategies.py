"""What each strategy takes, by the documentation, one candidate at a time."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.fuzz.collection import Document

Draw = Mapping[str, Any]
# Of equal priorities some are rounded.
CLOSE = 1e-9
NEVER = -math.inf


@dataclass(frozen=True)
class Pair:
    """A candidate of a row.

    Attributes:
        document: which.
        score: for the query.
        ranks: source -> the rank that it gave.
        reason: of the filter that dropped it; empty where it passed.
    """

    document: Document
    score: float
    ranks: Mapping[str, int]
    reason: str = ""

    @property
    def name(self) -> str:
        """Its id."""
        return self.document.doc_id


@dataclass(frozen=True)
class Turn:
    """The turn of a draw in a row.

    Attributes:
        draw: its section.
        inside: what its window holds, best first.
        free: the ids that it may still take.
        quota: how many it should take.
        reference: the score of the positive that it compares with.
    """

    draw: Draw
    inside: Sequence[Pair]
    free: frozenset[str]
    quota: int
    reference: float

    def fault(self, taken: frozenset[str]) -> str:
        """Say what is wrong with what it took."""
        strategy, rank = self.draw["strategy"], dict[str, float]()
        if strategy in PRIORITY:
            rank = dict(zip((one.name for one in self.inside), PRIORITY[strategy](self), strict=True))
        elif strategy in LOG_WEIGHT:
            rank = dict(zip((one.name for one in self.inside), LOG_WEIGHT[strategy](self), strict=True))
        eligible = [one.name for one in self.inside if one.name in self.free and rank.get(one.name, 0.0) > NEVER]
        if not taken <= set(eligible) or len(taken) != min(self.quota, len(eligible)):
            return f"took {sorted(taken)}, and should take {self.quota} of {eligible}"
        if strategy == "stratified" and len(self.free) == len(self.inside):
            return self._fault_of_bins(taken)
        if strategy not in PRIORITY or not taken:
            return ""
        wanted = sorted(eligible, key=lambda name: -rank[name])[: len(taken)]
        worst = min(rank[name] for name in taken)
        better = [name for name in eligible if name not in taken and rank[name] > worst + CLOSE]
        exact = strategy != "disagreement" and set(wanted) != taken
        return f"took {sorted(taken)}, and should take {wanted}" if better or exact else ""

    def _fault_of_bins(self, taken: frozenset[str]) -> str:
        of = _bins(self)
        left, wanted = Counter(of.values()), Counter[int]()
        while wanted.total() < len(taken):
            for one in sorted(left, reverse=True):
                if left[one] and wanted.total() < len(taken):
                    left[one] -= 1
                    wanted[one] += 1
        found = Counter(of[name] for name in taken)
        return "" if found == wanted else f"took {dict(found)} of its bins, and should take {dict(wanted)}"

    def log_probabilities(self) -> Mapping[str, float] | None:
        """Return with which it takes each free candidate first; None where it takes nothing at random."""
        if self.draw["strategy"] not in LOG_WEIGHT:
            return None
        weights = LOG_WEIGHT[self.draw["strategy"]](self)
        free = {one.name: weight for one, weight in zip(self.inside, weights, strict=True) if one.name in self.free}
        highest = max(free.values(), default=NEVER)
        if highest == NEVER:
            return {}
        total = math.log(sum(math.exp(weight - highest) for weight in free.values()))
        return {name: weight - highest - total for name, weight in free.items()}


def _top(turn: Turn) -> list[float]:
    return [0.0] * len(turn.inside)


def _semi_hard(turn: Turn) -> list[float]:
    return [0.0 if 0 < turn.reference - one.score < turn.draw["margin"] else NEVER for one in turn.inside]


def _disagreement(turn: Turn) -> list[float]:
    """The variance of reciprocal ranks; one that a source did not name has the reciprocal 0."""
    sources = turn.draw["sources"]
    reciprocals = [[1 / (one.ranks[s] + 1) if s in one.ranks else 0.0 for s in sources] for one in turn.inside]
    return [sum((r - sum(some) / len(some)) ** 2 for r in some) / len(some) for some in reciprocals]


def _diverse(turn: Turn) -> list[float]:
    """Maximal marginal relevance, over all candidates of the window."""
    weight, left, order = turn.draw["trade_off"], list(range(len(turn.inside))), list[int]()
    vectors, scores = [one.document.vector for one in turn.inside], [one.score for one in turn.inside]
    while left:
        gain = {
            i: weight * scores[i] - (1 - weight) * max((float(vectors[i] @ vectors[j]) for j in order), default=NEVER)
            for i in left
        }
        best = left[0] if not order else max(left, key=lambda i: (gain[i], -i))
        order.append(best)
        left.remove(best)
    return [-float(order.index(i)) for i in range(len(turn.inside))]


def _random(turn: Turn) -> list[float]:
    return [0.0] * len(turn.inside)


def _softmax(turn: Turn) -> list[float]:
    return [one.score / turn.draw["temperature"] for one in turn.inside]


def _simans(turn: Turn) -> list[float]:
    peak = turn.reference + turn.draw.get("b", 0.0)
    return [-turn.draw["a"] * (one.score - peak) ** 2 for one in turn.inside]


def _distance_weighted(turn: Turn) -> list[float]:
    cutoff, farthest = turn.draw.get("cutoff", 0.5), turn.draw.get("farthest", 1.4)
    return [_inverse_density(one, cutoff, farthest) for one in turn.inside]


def _inverse_density(one: Pair, cutoff: float, farthest: float) -> float:
    distance, n = math.sqrt(max(2 - 2 * one.score, 0)), len(one.document.vector)
    if distance > farthest:
        return NEVER
    d = max(distance, cutoff)
    return -((n - 2) * math.log(d) + (n - 3) / 2 * math.log(1 - d * d / 4))


def _bins(turn: Turn) -> dict[str, int]:
    scores, bins = [one.score for one in turn.inside], turn.draw["bins"]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    width = high - low or 1.0
    return {one.name: int(min(np.floor((one.score - low) / width * bins), bins - 1)) for one in turn.inside}


# Of those that take nothing at random: the highest are taken, of equal ones the better-scored.
PRIORITY: Mapping[str, Callable[[Turn], list[float]]] = {
    "top": _top,
    "semi_hard": _semi_hard,
    "disagreement": _disagreement,
    "diverse": _diverse,
}
# Of those that take in proportion to a weight.
LOG_WEIGHT: Mapping[str, Callable[[Turn], list[float]]] = {
    "random": _random,
    "softmax": _softmax,
    "simans": _simans,
    "distance_weighted": _distance_weighted,
}
