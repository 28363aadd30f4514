"""What is mined: documents, queries, judgements, and the settings that decide the result."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

Vector = npt.NDArray[np.float64]


class RefusedError(Exception):
    """The input must be refused."""


@dataclass(frozen=True)
class Document:
    doc_id: str
    text: str
    metadata: Any
    vector: Vector
    title: str | None = None  # stands before the text


@dataclass(frozen=True)
class Query:
    query_id: str
    text: str
    metadata: Any
    vector: Vector


@dataclass(frozen=True)
class Judgement:
    query_id: str
    doc_id: str
    score: float


@dataclass(frozen=True)
class Collection:
    """What the sources hold, in their order."""

    documents: Sequence[Document]
    queries: Sequence[Query]
    judgements: Sequence[Judgement]


@dataclass(frozen=True)
class Settings:
    """The keys of the configuration that decide the result, with their documented defaults."""

    drop_empty: bool = True
    min_words: int = 0
    drop_containing: tuple[str, ...] = ()
    exact_duplicates: str = "keep_first"
    on_dangling: str = "refuse"
    k: int = 100
    max_k: int | str = "auto"
    num_negatives: int = 4
    range_min: int = 0
    range_max: int = 100
    sampling_strategy: str = "top"
    margin_positive: str = "row"
    max_positive_similarity: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """Take the settings out of a configuration as it is written."""
        found = {key: config.get("data", {}).get(key) for key in ("on_dangling",)}
        for section in ("clean", "search", "select"):
            found.update(config.get(section) or {})
        known = {name: value for name, value in found.items() if name in cls.__dataclass_fields__ and value is not None}
        known["drop_containing"] = tuple(known.get("drop_containing", ()))
        return cls(**known)

    def depths(self) -> list[int]:
        """Return `k` and the depths at which short queries are searched again."""
        deepest = 10 * self.k if self.max_k == "auto" else int(self.max_k)
        depths = [self.k]
        while depths[-1] < deepest:
            depths.append(min(depths[-1] * 4, deepest))
        return depths


def key_of(text: str) -> int:
    """Return the 63-bit key of an id."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) & ((1 << 63) - 1)


def read_as(text: str) -> str:
    """Return a text as it is compared: decomposed, with single blanks."""
    return " ".join(unicodedata.normalize("NFD", text).split())
