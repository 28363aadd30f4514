"""The model of false negatives that the package ships: fitted on several collections."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.hidden import Examples, Hidden, Judged, judged, together
from benchmarks.potion import potion_folder
from operators.candidates.false_negatives.features import FEATURES
from operators.candidates.false_negatives.fit import fitted
from operators.candidates.false_negatives.model import FalseNegativeModel
from operators.schemas import to_numpy

# The collection of the test is not among them.
TRAINING = (("scifact", "train"), ("insuranceqa-en", "train"))
MOST_QUERIES = 2_000


def default_examples(collections: Mapping[str, Judged]) -> list[Examples]:
    """Return views of several collections: of each query all positives but one, and one alone."""
    return [
        examples
        for collection in collections.values()
        for examples in (
            Hidden.of(collection, 0.0, 0).examples(),
            one_known(collection),
        )
    ]


def one_known(collection: Judged) -> Examples:
    """Return views in which one positive of a query is known, and all others are hidden."""
    hidden = Hidden.of(collection, None, 1)
    query = to_numpy(collection.positives, "query_key")
    _, count = np.unique(query, return_counts=True)
    weight = np.where(hidden.truth, 1 / (count[hidden.query] - 1), 1.0).astype(np.float32)
    return Examples(hidden.features, hidden.truth, weight, hidden.query)


def default_model(collections: Mapping[str, Judged], about: Mapping[str, object]) -> FalseNegativeModel:
    """Fit one model on several collections, of which each weighs the same."""
    examples = default_examples(collections)
    scaled = [replace(one, weight=one.weight / one.weight[one.label].sum()) for one in examples]
    everything = together(scaled)
    weight = everything.weight * np.float32(everything.label.sum() / len(scaled))
    facts = {**about, "collections": {name: int(one.positives.num_rows) for name, one in collections.items()}}
    return fitted(everything.features, everything.label, weight, FEATURES, fitted_on=facts)


def collections_of(scratch: Path) -> Iterator[tuple[str, Judged]]:
    """Yield what the shipped model is fitted on: each collection with each encoder."""
    folder = potion_folder(scratch / "potion")
    for name, split in TRAINING:
        run = scratch / f"{name}-potion"
        yield f"{name} {split}, potion-base-4m", judged(name, split, {"model": str(folder)}, run).several(MOST_QUERIES)
