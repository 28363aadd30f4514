"""Read the retrieval sets beside the checkout: BEIR folders, whose files may be compressed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec

SHARED = Path(__file__).parents[2] / "shared"
SETS = SHARED / "data"


def rows(folder: Path, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects of `<name>.jsonl` or `<name>.jsonl.gz`."""
    plain = folder / f"{name}.jsonl"
    file = plain if plain.exists() else plain.with_suffix(".jsonl.gz")
    with fsspec.open(str(file), "rt", compression="infer", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def texts(folder: Path, name: str) -> dict[str, str]:
    """Return the text of each document (its title before it) or query, by id."""
    return {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in rows(folder, name)}


def judged_queries(folder: Path, split: str) -> int:
    """Return how many queries the judgements of a split name."""
    lines = (folder / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return len({line.partition("\t")[0] for line in lines})
