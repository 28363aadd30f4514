"""Near-copies of texts, in which a share of the words are others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jieba
import numpy as np
import numpy.typing as npt

# Shares of the words.
CHANGED = (0.0, 0.01, 0.05, 0.1, 0.2)
COPIES = 500


@dataclass(frozen=True)
class Copies:
    """Planted copies.

    Attributes:
        originals: their texts.
        changed: share of changed words -> the copies, in the same order.
    """

    originals: Sequence[str]
    changed: Mapping[float, Sequence[str]]


def planted(
    originals: Sequence[Sequence[str]], vocabulary: Sequence[str], blank: str, rng: np.random.Generator
) -> Copies:
    """Plant copies of texts that are given by their words."""
    change = partial(_with_other_words, vocabulary=np.array(vocabulary, dtype=object), rng=rng)
    changed = {share: [blank.join(change(words, share)) for words in originals] for share in CHANGED}
    return Copies([blank.join(words) for words in originals], changed)


def _with_other_words(
    words: Sequence[str], share: float, vocabulary: npt.NDArray[np.object_], rng: np.random.Generator
) -> list[str]:
    """Change a share of the words, at least one where there is a share."""
    changed = np.array(words, dtype=object)
    count = max(round(share * len(words)), 1) if share else 0
    changed[rng.choice(len(words), count, replace=False)] = rng.choice(vocabulary, count)
    return list(changed)


def chinese(documents: int = COPIES, words: int = 200) -> Copies:
    """Return copies of texts without blanks: words of jieba's dictionary, drawn by their frequency."""
    lines = (Path(jieba.__file__).parent / "dict.txt").read_text(encoding="utf-8").splitlines()
    known, counts = zip(*(line.split()[:2] for line in lines), strict=True)
    weight, rng = np.array(counts, dtype=np.float64), np.random.default_rng(0)
    drawn = rng.choice(np.array(known, dtype=object), (documents, words), p=weight / weight.sum())
    return planted(list(drawn), list(drawn.ravel()), "", rng)
