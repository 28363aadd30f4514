"""Small collections that are hard on a miner: ties, copies, odd ids, empty texts, judgements that lead nowhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import numpy as np

from tests.fuzz.collection import Vector, read_as

WORDS = (
    *("red", "blue", "tree", "house", "river", "stone", "cloud", "café", "naïve", "Ωmega", "東京", "мир"),
    *("emoji😀", '5"'),
)
ODD_IDS = (
    "001",
    "1",
    "01",
    "NA",
    "null",
    "nan",
    "1e5",
    "1.0",
    "True",
    "-1",
    "é",
    "e\u0301",
    "a b",
    "a/b",
    "日本",
    "x'y",
    'x"y',
)
DIMENSION = 8
Similarity = Literal["cosine", "dot"]
# What a text is encoded to: (texts, side) -> one vector each.
Encoder = Callable[[Sequence[str], Literal["query", "document"]], Vector]


@dataclass
class Item:
    """A document or a query before it is written.

    Attributes:
        title: of a document, None where it has none.
        others: the columns that have no role.
        raw: the vector as it is written.
    """

    name: str
    text: str
    title: str | None
    others: dict[str, Any]
    raw: list[float]


@dataclass
class Judged:
    query_id: str
    doc_id: str
    score: float


@dataclass
class Content:
    """What is written into sources."""

    documents: list[Item]
    queries: list[Item]
    judgements: list[Judged]
    similarity: Similarity


def content(random: Random, similarity: Similarity) -> Content:
    """Make a collection: in every twentieth all judgements are 0, or there are none."""
    texts = _texts(random, random.randint(3, 40))
    names = _names(random, len(texts), "d")
    documents = [_item(random, name, text, similarity) for name, text in zip(names, texts, strict=True)]
    for _ in range(random.choice([0, 0, 1, 2])):  # the same row again
        documents.append(random.choice(documents))
    titled = random.random() < 0.3
    for document in documents if titled else ():
        document.title = random.choice(["", "Title", "NA", " The  title ", None])
    asked = _texts(random, random.randint(1, 10))
    queries = [
        _item(random, name, text, similarity) for name, text in zip(_names(random, len(asked), "q"), asked, strict=True)
    ]
    return Content(documents, queries, _judgements(random, documents, queries), similarity)


def text_of(random: Random) -> str:
    """Make a text of 1, 2, 4 or 8 words: means over so many are exact in binary."""
    return " ".join(random.choice(WORDS) for _ in range(random.choice([1, 1, 2, 2, 4, 8])))


def _texts(random: Random, count: int) -> list[str]:
    texts: list[str] = []
    for _ in range(count):
        chance = random.random()
        if texts and chance < 0.2:
            texts.append(_varied(random, random.choice(texts)))
        elif chance < 0.26:
            texts.append(random.choice(["", " ", "\u3000", "\u00a0 "]))
        else:
            texts.append(text_of(random))
    return texts


def _varied(random: Random, text: str) -> str:
    """Return a text that reads the same."""
    import unicodedata

    change = random.choice(["same", "blanks", "ends", "form"])
    if change == "blanks":
        return text.replace(" ", random.choice(["  ", "\u2003"]))
    if change == "ends":
        return f" {text} "
    return unicodedata.normalize(random.choice(["NFC", "NFD"]), text) if change == "form" else text


def _names(random: Random, count: int, letter: str) -> list[str]:
    names = [f"{letter}{i}" for i in range(count)]
    if random.random() < 0.5:
        odd = random.sample(ODD_IDS, min(count, random.randint(1, len(ODD_IDS))))
        names[: len(odd)] = odd
        random.shuffle(names)
    return names


def _item(random: Random, name: str, text: str, similarity: Similarity) -> Item:
    return Item(name, text, None, {}, vector(random, similarity))


def vector(random: Random, similarity: Similarity) -> list[float]:
    """Make a vector whose inner products, and length where it is divided by that, are exact in binary."""
    if random.random() < 0.03:
        return [0.0] * DIMENSION
    if similarity == "dot":
        return [float(random.choice([-2, -1, 0, 0, 1, 2, 0.5])) for _ in range(DIMENSION)]
    size = random.choice([1, 4, 4, 4])  # so many values of one magnitude have a length of 1 or 2 of it
    held = [0.0] * DIMENSION
    magnitude = random.choice([0.5, 1.0, 1.0, 2.0])
    for place in random.sample(range(DIMENSION), size):
        held[place] = random.choice([-magnitude, magnitude, magnitude])
    return held


def kept(raw: Sequence[float], similarity: Similarity) -> Vector:
    """Return a vector as it is kept."""
    held = np.asarray(raw, dtype=np.float32).astype(np.float64)
    length = float(np.linalg.norm(held))
    if similarity == "cosine" and length:
        held = (held / length).astype(np.float32)
    return held.astype(np.float16).astype(np.float64)


def _judgements(random: Random, documents: list[Item], queries: list[Item]) -> list[Judged]:
    scores = [0.0] if random.random() < 0.03 else [0.0, 1.0, 1.0, 1.0, 2.0]
    judged = []
    for query in queries:
        for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
            judged.append(Judged(query.name, random.choice(documents).name, random.choice(scores)))
    if random.random() < 0.15:
        judged.append(Judged(queries[0].name, "no-such-document", 1.0))
    if random.random() < 0.1:
        judged.append(Judged("no-such-query", documents[0].name, 1.0))
    if random.random() < 0.2 and judged:  # judged again, maybe otherwise
        again = random.choice(judged)
        judged.append(Judged(again.query_id, again.doc_id, random.choice(scores)))
    random.shuffle(judged)
    return judged


def same_text_other_id(documents: Sequence[Item]) -> bool:
    """Tell whether two documents read the same."""
    return len({read_as(one.text) for one in documents}) < len(documents)


def settings(random: Random, similarity: Similarity) -> dict[str, Any]:
    """Make the sections of a configuration that decide the result."""
    k = random.choice([1, 2, 3, 5, 8, 12, 30, 100])
    range_max = random.randint(1, k) if random.random() < 0.6 else k
    range_min = random.choice([0, 0, 0, 1, 2])
    range_min = min(range_min, range_max - 1)
    negatives = random.randint(1, min(range_max - range_min, 5))
    select: dict[str, Any] = {"num_negatives": negatives, "range_min": range_min, "range_max": range_max}
    limits = [-1.0, 0.0, 0.25, 0.5, 0.75] if similarity == "cosine" else [-2.0, 0.0, 0.5, 2.0, 4.0]
    chances = {
        "max_score": limits,
        "min_score": limits,
        "max_positive_similarity": limits,
        "absolute_margin": [0.0, 0.125, 0.25, 1.0],
        "relative_margin": [0.0, 0.125, 0.25, 0.5, 2.0],
    }
    select.update({name: random.choice(values) for name, values in chances.items() if random.random() < 0.18})
    if random.random() < 0.3:
        select["margin_positive"] = random.choice(["row", "lowest", "mean"])
    if random.random() < 0.25:
        select.update(sampling_strategy="random", seed=random.choice([0, 1, -5, 2**40]))
    search: dict[str, Any] = {"k": k}
    if random.random() < 0.4:
        search["max_k"] = random.choice([k, k + 1, 4 * k, 1000])
    clean: dict[str, Any] = {"exact_duplicates": random.choice(["keep_first", "keep_first", "keep"])}
    if random.random() < 0.2:
        clean["min_words"] = random.choice([1, 2, 3])
    if random.random() < 0.2:
        clean["drop_containing"] = [random.choice(WORDS)]
    if random.random() < 0.15:
        clean["drop_empty"] = False
    return {"clean": clean, "search": search, "select": select}
