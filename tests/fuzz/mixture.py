"""A collection with metadata and labels, and a configuration that mixes sources, draws and caps."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.collection import Collection, Document, Judgement, Query
from tests.fuzz.generate import Content, Item, Judged, Similarity, content, kept, same_text_other_id
from tests.fuzz.models import Encoded, make_model
from tests.fuzz.rules import DOMAINS, YEARS, Rule
from tests.fuzz.shares import Shares
from tests.fuzz.writing import as_jsonl, as_parquet

POSITIVE, NEGATIVE = "right", ("near", "far")
FORMATS = ("triplet", "n-tuple", "labeled-list", "flagembedding", "tevatron")


@dataclass
class Mixture:
    """What is mined.

    Attributes:
        held: documents and queries with metadata, judgements.
        config: the configuration.
        rules: the text of a rule -> what it says.
        labels: (query_id, doc_id) -> the label of the judgement; none where judgements have scores.
        second: what the proposer `encoder` encodes with.
    """

    held: Content
    config: dict[str, Any]
    rules: Mapping[str, Rule]
    labels: Mapping[tuple[str, str], str] = field(default_factory=dict)
    second: Encoded | None = None

    @property
    def run(self) -> Path:
        """The run directory."""
        return Path(self.config["run"])

    @property
    def draws(self) -> list[dict[str, Any]]:
        """The draws."""
        draws: list[dict[str, Any]] = self.config["select"]["draws"]
        return draws

    @property
    def per_row(self) -> int:
        """How many negatives a full row has."""
        return sum(draw["num_negatives"] for draw in self.draws if not draw.get("fill"))

    def write(self, random: Random, folder: Path) -> None:
        """Write the sources, and name them in the configuration."""
        folder.mkdir(parents=True)
        rows: dict[str, list[dict[str, Any]]] = {
            "corpus": [_row("doc_id", item) for item in self.held.documents],
            "queries": [_row("query_id", item) for item in self.held.queries],
            "judgements": [self._judgement(one) for one in self.held.judgements],
        }
        for kind, some in rows.items():
            # Columns of Parquet have one type, and groups several.
            parquet = kind != "corpus" and bool(some) and random.random() < 0.5
            path = folder / f"{kind}.{'parquet' if parquet else 'jsonl'}"
            path.write_bytes(as_parquet(some, random, "vector") if parquet else as_jsonl(some, random))
            self.config["data"][kind] = str(path)
            if kind != "judgements":
                self.config["data"][kind] = {"path": str(path), "columns": {"vector": "vector"}}

    def _judgement(self, one: Judged) -> dict[str, Any]:
        pair = {"query_id": one.query_id, "doc_id": one.doc_id}
        label = self.labels.get((one.query_id, one.doc_id))
        return {**pair, "score": one.score} if label is None else {**pair, "label": label}

    def collection(self) -> Collection:
        """Return what the sources hold."""
        held, titled = self.held, any(item.title is not None for item in self.held.documents)
        return Collection(
            [
                Document(
                    one.name,
                    one.text,
                    one.others,
                    kept(one.raw, held.similarity),
                    (one.title or "") if titled else None,
                )
                for one in held.documents
            ],
            [Query(one.name, one.text, one.others, kept(one.raw, held.similarity)) for one in held.queries],
            [Judgement(one.query_id, one.doc_id, one.score) for one in held.judgements],
        )

    def otherwise(self, random: Random, folder: Path, engine: str) -> "Mixture":
        """Return the same with rows in another order, other partitions and shards, on an engine."""
        held, config = deepcopy(self.held), deepcopy(self.config)
        random.shuffle(held.judgements)
        if not same_text_other_id(held.documents):  # of copies the first is kept
            random.shuffle(held.documents)
        config.update(run=str(folder / "run"), index={"factory": "exact", "shard_rows": random.choice([1, 3, 100])})
        config["data"]["partition_rows"] = random.choice([1, 4, 9])
        config["engine"] = {"name": engine}
        if engine == "beam":  # it takes long for each partition
            config["data"]["partition_rows"], config["index"]["shard_rows"] = 9, 100
        return Mixture(held, config, self.rules, self.labels, self.second)


def _row(key: str, item: Item) -> dict[str, Any]:
    row = {key: item.name, "text": item.text, "vector": item.raw, **item.others}
    return row if item.title is None else {**row, "title": item.title}


def some_mixture(random: Random, folder: Path, *, may_encode: bool) -> Mixture:
    """Make a collection and a configuration; a second encoder takes long to load, so few have one."""
    similarity: Similarity = random.choice(["cosine", "dot"])
    held = content(random, similarity)
    _add_metadata(random, held)
    labels = _labels(random, held) if random.random() < 0.3 else {}
    shares = Shares(random, similarity, labelled=bool(labels), depth=random.choice([2, 5, 12, 30]))
    second = None
    if may_encode and random.random() < 0.1:
        second = Encoded(make_model(folder / "second", 1))
        section = {"proposer": "encoder", "model": str(second.folder), "similarity": "dot", "dtype": "float32"}
        shares.propose({**section, "index": "exact"})
    config: dict[str, Any] = {
        "run": str(folder / "run"),
        "data": {"partition_rows": random.choice([1, 3, 7, 1024]), "on_dangling": "drop"},
        # A label belongs to a pair, and copies have several.
        "clean": {"exact_duplicates": "keep" if labels else random.choice(["keep", "keep_first"])},
        "encoder": {"similarity": similarity},
        "index": random.choice([{"factory": "exact", "shard_rows": random.choice([1, 2, 5, 100])}, "exact", "auto"]),
        **shares.sections(),
        "export": {"formats": random.sample(FORMATS, random.choice([1, 1, 2]))},
        "engine": {"name": "local"},
    }
    if labels:
        config["data"]["positive_labels"] = [POSITIVE]
    return Mixture(held, config, shares.rules, labels, second)


def _add_metadata(random: Random, held: Content) -> None:
    for item in held.documents:
        if not item.others:  # the same row may be there twice
            item.others = _metadata(random)
            item.others["clicks"] = random.choice([None, 0, 1, 3, 10.5])
            item.others["group"] = random.choice([None, "a", "b", 7, "7", 7.0, True])
    for item in held.queries:
        item.others = _metadata(random)
    for judged in held.judgements:
        if judged.score == 0 and random.random() < 0.3:
            judged.score = -1.0


def _metadata(random: Random) -> dict[str, Any]:
    return {"domain": random.choice([*DOMAINS, None]), "year": random.choice([*YEARS, None])}


def _labels(random: Random, held: Content) -> dict[tuple[str, str], str]:
    """Leave one judgement of each pair, and return the labels; one of them is positive."""
    once = {(one.query_id, one.doc_id): one for one in held.judgements}
    held.judgements[:] = once.values()
    for number, judged in enumerate(held.judgements):
        judged.score = 1.0 if not number else min(max(judged.score, 0.0), 1.0)
    return {pair: POSITIVE if one.score > 0 else random.choice(NEGATIVE) for pair, one in once.items()}
