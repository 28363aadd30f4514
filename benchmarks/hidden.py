"""Real collections of which some positives are hidden: what search found, and which of it is a hidden positive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import beir
from operators.candidates.false_negatives.features import FEATURES, features_of
from operators.candidates.false_negatives.fit import fitted
from operators.candidates.false_negatives.list_similarity import with_list_similarities
from operators.candidates.false_negatives.model import FalseNegativeModel
from operators.candidates.false_negatives.views import Shown, by_query, hide, similarities
from operators.schemas import POSITIVES, matrix_of, to_numpy
from operators.segments import first_index, join_sorted, starts_of
from pipelines.run import mine
from pipelines.text.config import Config

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

K = 200


@dataclass(frozen=True)
class Judged:
    """A collection with all its judgements.

    Attributes:
        candidates: schema LISTED, ascending by query.
        positives: schema POSITIVES, ascending by query.
        similarity: of each candidate and each positive of its query, in the order of `hide`.
    """

    candidates: pa.Table
    positives: pa.Table
    similarity: Floats

    def several(self, most: int | None = None) -> "Judged":
        """Return the queries with at least two positives, the first so many of them."""
        query = to_numpy(self.positives, "query_key")
        names, counts = np.unique(query, return_counts=True)
        kept = names[counts > 1][:most]
        of_candidates = np.isin(to_numpy(self.candidates, "query_key"), kept)
        length = counts[np.searchsorted(names, to_numpy(self.candidates, "query_key"))]
        return Judged(
            self.candidates.filter(pa.array(of_candidates)),
            self.positives.filter(pa.array(np.isin(query, kept))),
            self.similarity[np.repeat(of_candidates, length)],
        )


def judged(name: str, split: str, encoder: Mapping[str, Any], run: Path) -> Judged:
    """Search a collection with all its judgements; what is there of an earlier call is not done again.

    Args:
        name: of a folder beside the checkout.
        split: of it.
        encoder: the section of the configuration.
        run: the run directory.
    """
    raw: dict[str, Any] = {
        "run": str(run),
        "data": {"beir": str(beir.SETS / name), "split": split},
        "encoder": dict(encoder),
        "search": {"k": K},
        "engine": {"name": "local"},
    }
    mined = mine(Config.model_validate(raw), until="search", progress=False)
    candidates, positives = mined.output("search/all", "candidates"), mined.output("search/all", "positives")
    candidates, positives = by_query(candidates), by_query(positives.select(POSITIVES.names))
    candidates, positives = candidates.combine_chunks(), positives.combine_chunks()
    vectors = mined.output("encode", "documents", ["key", "vector"])
    key, matrix = to_numpy(vectors, "key"), matrix_of(vectors.column("vector"))
    similarity = similarities(candidates, positives, key, matrix)
    return Judged(with_list_similarities(candidates, key, matrix), positives, similarity)


@dataclass(frozen=True)
class Hidden:
    """A collection of which some positives are hidden from everything but the measurement.

    Attributes:
        collection: with all its judgements.
        shown: those that are known: a view of each query.
        candidates: what search finds with these (schema VIEWED); `hidden` is the truth.
        positives: those that are known.
        features: of the candidates.
    """

    collection: Judged
    shown: Shown
    candidates: pa.Table
    positives: pa.Table
    features: Mapping[str, Floats]

    @classmethod
    def of(cls, collection: Judged, share: float | None, seed: int) -> "Hidden":
        """Hide this share of the positives at random, or all but one of each query where it is None."""
        rng = np.random.default_rng(seed)
        query = to_numpy(collection.positives, "query_key")
        number = np.cumsum(np.append(True, query[1:] != query[:-1])) - 1
        first = _one_of_each(number, rng)
        kept = first if share is None else first | (rng.random(len(query)) >= share)
        return cls.with_shown(collection, Shown(number[kept], np.flatnonzero(kept)))

    @classmethod
    def with_shown(cls, collection: Judged, shown: Shown) -> "Hidden":
        """Show these positives."""
        candidates, positives = hide(collection.candidates, collection.positives, collection.similarity, shown)
        return cls(collection, shown, candidates, positives, features_of(candidates, positives))

    @property
    def query(self) -> Ints:
        """The number of each candidate's query."""
        return to_numpy(self.candidates, "query_key").astype(np.int64)

    @property
    def truth(self) -> Mask:
        """Which candidates are hidden positives."""
        return np.asarray(self.candidates.column("hidden"))

    def thinned(self, share: float, seed: int) -> "Hidden":
        """Hide this share of the known positives, too; one of each query stays."""
        rng = np.random.default_rng(seed)
        kept = _one_of_each(self.shown.view, rng) | (rng.random(len(self.shown.view)) >= share)
        return Hidden.with_shown(self.collection, Shown(self.shown.view[kept], self.shown.positive[kept]))

    def known_in(self, thinned: "Hidden") -> Mask:
        """Return which candidates of a thinned view are known here: the positives of the second hiding."""
        text, judged = to_numpy(thinned.candidates, "text_key"), to_numpy(self.positives, "text_key")
        view = to_numpy(self.positives, "query_key")
        pairs = thinned.query * (2**20) + _number(text, judged)
        return np.isin(pairs, view * (2**20) + _number(judged, judged))

    def examples(self, seed: int = 0, most: int = 5_000) -> "Examples":
        """Return what a calibration learns from: the known positives, each hidden in a view of its own."""
        view = self.shown.view
        several = np.bincount(view)[view] > 1
        sampled = np.random.default_rng(seed).random(len(view)) < most / len(view)
        return self.one_hidden(np.flatnonzero(several & sampled))[1]

    def one_hidden(self, chosen: Ints) -> tuple["Hidden", "Examples"]:
        """Return a view for each of these known positives in which it is hidden, too, and what it teaches.

        Args:
            chosen: their places among those that are shown, ascending; of queries that show several.
        """
        view, positive = self.shown.view, self.shown.positive
        count = np.bincount(view)[view]
        number, at = join_sorted(view[chosen], view)
        other = at != chosen[number]
        shown = Shown(number[other], positive[at[other]])
        views = Hidden.with_shown(self.collection, shown)
        text = to_numpy(self.collection.positives, "text_key")[positive[chosen]]
        label = to_numpy(views.candidates, "text_key") == text[views.query]
        of_query = count[chosen][views.query]
        weight = np.where(label, of_query - 1, 1) / of_query
        return views, Examples(views.features, label, weight.astype(np.float32), view[chosen][views.query])


@dataclass(frozen=True)
class Examples:
    """Candidates of views: their features, which are hidden positives, weights, and the query that they are of."""

    features: Mapping[str, Floats]
    label: Mask
    weight: Floats
    query: Ints

    def model(self, some: Mask | None = None, names: tuple[str, ...] = FEATURES) -> FalseNegativeModel:
        """Fit on some of them, or all."""
        at = np.ones(len(self.label), dtype=np.bool_) if some is None else some
        features = {name: self.features[name][at] for name in names}
        return fitted(features, self.label[at], self.weight[at], names)


def together(several: Sequence[Examples]) -> Examples:
    """Return the examples of several collections or views as one."""
    return Examples(
        {name: np.concatenate([one.features[name] for one in several]) for name in FEATURES},
        np.concatenate([one.label for one in several]),
        np.concatenate([one.weight for one in several]),
        np.concatenate([one.query for one in several]),
    )


def _one_of_each(view: Ints, rng: np.random.Generator) -> Mask:
    """Return one element of each view, drawn at random: bool of shape (n,)."""
    order = np.lexsort((rng.random(len(view)), view))
    first = np.zeros(len(view), dtype=np.bool_)
    first[order[starts_of(view[order])]] = True
    return first


def _number(values: Ints, known: Ints) -> Ints:
    names = np.unique(known)
    return np.asarray(first_index(names, values) + 1)
