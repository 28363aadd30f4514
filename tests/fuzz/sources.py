"""Cases of sources: a small collection in any format, half of them damaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.again import read_again
from tests.fuzz.collection import RefusedError, Settings
from tests.fuzz.damage import Damage, damage_bytes, damage_rows
from tests.fuzz.generate import Encoder, Similarity, content, settings
from tests.fuzz.interpret import UnsureError, collection_of
from tests.fuzz.layouts import Written, sources_of, write
from tests.fuzz.oracle import mine
from tests.fuzz.outcome import Expected


@dataclass
class SourceCase:
    """A case: its configuration, and what must come of it."""

    config: dict[str, Any]
    expected: Expected
    notes: list[str]


def source_case(
    random: Random,
    folder: Path,
    encoder: Encoder | None,
    model: Path | None,
    *,
    damaged: bool | None = None,
    cosine: bool = False,
) -> SourceCase:
    """Write the sources of a case; without an encoder all vectors are given. Half of them are damaged."""
    similarity: Similarity = random.choice(["cosine", "dot"])
    layout = "separate" if encoder is None else random.choice(["separate", "separate", "beir", "pairs"])
    if encoder is not None:  # sums of the model's vectors are exact, lengths are not
        similarity = "cosine" if cosine else "dot"
    held = content(random, similarity)
    damaging = random.random() < 0.5 if damaged is None else damaged
    sources = sources_of(random, held, layout, model_there=encoder is not None)
    notes = []
    if damaging and random.random() < 0.5:
        one = random.choice(sources)
        notes.append(damage_rows(random, one.source))
    for one in sources:
        write(random, folder / "data", one, layout)
    damaged_file = None
    if damaging and not notes:
        damaged_file = damage_bytes(random, random.choice([path for one in sources for path in one.paths]))
        notes.append(damaged_file.description)
    notes += [f"{one.source.kind}: {one.format}{one.ending}, {one.source.roles}" for one in sources]
    config = _config(random, folder, sources, layout, similarity)
    if model is not None and encoder is not None:
        config["encoder"]["model"] = str(model)
    expected = _expected(sources, config, similarity, encoder, damaged_file)
    return SourceCase(config, expected, notes)


def _config(random: Random, folder: Path, sources: Sequence[Written], layout: str, similarity: str) -> dict[str, Any]:
    data: dict[str, Any] = {"partition_rows": random.choice([1, 3, 7, 1024])}
    if random.random() < 0.6:
        data["on_dangling"] = random.choice(["drop", "drop", "refuse"])
    if layout == "beir":
        data["beir"] = str(folder / "data")
    else:
        for one in sources:
            data[one.source.kind] = _source_config(random, folder, one)
    labels = [one.source.positive_labels for one in sources if one.source.positive_labels is not None]
    if labels:
        data["positive_labels"] = list(labels[0])
    config = {"run": str(folder / "run"), "data": data, **settings(random, similarity)}  # type: ignore[arg-type]
    config["encoder"] = {"similarity": similarity, "dtype": "float32"}
    config["index"] = random.choice(
        [{"factory": "exact", "shard_rows": random.choice([1, 2, 5, 100])}, "exact", "auto"]
    )
    formats = random.sample(
        ["triplet", "n-tuple", "labeled-pair", "labeled-list", "flagembedding", "tevatron"], random.choice([1, 1, 2, 6])
    )
    config["export"] = {"formats": formats, "file_format": random.choice(["parquet", "parquet", "jsonl"])}
    config["engine"] = {"name": "local"}
    return config


def _source_config(random: Random, folder: Path, one: Written) -> Any:  # noqa: ANN401 - YAML
    if len(one.paths) > 1 and random.random() < 0.5:
        path: Any = str(folder / "data" / f"{one.source.kind}-*")
        one.globbed = True
    else:
        path = [str(path) for path in one.paths]
        path = path[0] if len(path) == 1 else path
    if not one.mapped and one.named and random.random() < 0.5:
        return path
    config: dict[str, Any] = {"path": path, "columns": one.mapped}
    if not one.named:
        config["format"] = one.format
    return config


def _expected(
    sources: Sequence[Written],
    config: Mapping[str, Any],
    similarity: Similarity,
    encoder: Encoder | None,
    damaged: Damage | None,
) -> Expected:
    try:
        if damaged is not None:
            read_again(sources, damaged)
        by_kind = {one.source.kind: one.source for one in sources}
        collection = collection_of(by_kind, similarity, encoder or _no_encoder)
        mined = mine(collection, Settings.of(config))
    except RefusedError as refused:
        return Expected(None, must_refuse=True, why=str(refused))
    except UnsureError as unsure:
        return Expected(None, may_refuse=True, why=str(unsure))
    if mined.close:
        return Expected(None, may_refuse=True, why="scores that are too close to tell")
    return Expected(mined, may_refuse=mined.unsure)


def _no_encoder(texts: Sequence[str], side: str) -> Any:  # noqa: ANN401
    raise AssertionError("all vectors are given")
