"""The dataset card: what lies beside the training data, for the person who finds it and for `load_dataset`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from operators.datasets.formats import FileFormat, Format, training_columns


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        layout: the format of the data beside it.
        file_format: of the files.
        rows: how many there are.
        num_negatives: how many negatives a full row has.
        counts: what happened to the candidates: reason -> count.
        pairs: (query, positive) rows mined, and how many of them are short of negatives or without.
        configuration: how it was made, as it is saved with the run.
    """

    layout: Format
    file_format: FileFormat
    rows: int
    num_negatives: int
    counts: Mapping[str, int]
    pairs: Mapping[str, int]
    configuration: Mapping[str, Any]


def card(facts: CardFacts) -> str:
    """Write the card (README.md) of one format. Its header makes `load_dataset` give the columns to train on."""
    columns = training_columns(facts.layout, facts.num_negatives)
    files = f"*.{facts.file_format}"
    default: dict[str, Any] = {"config_name": "default", "default": True, "data_files": files}
    configs = [default]
    if facts.file_format == "parquet":
        default["columns"] = columns
        configs.append({"config_name": "full", "data_files": files})
    header = {"tags": ["sentence-transformers", "hard-negatives", "hardneg"], "configs": configs}
    told = {key: facts.configuration[key] for key in ("clean", "encoder", "index", "search", "select", "export")}
    rows = "\n".join(f"| {reason} | {count:,} |" for reason, count in facts.counts.items())
    return f"""---
{yaml.safe_dump(header, sort_keys=False).strip()}
---

# Hard negatives: {facts.layout}

{facts.rows:,} rows, mined with hardneg for {facts.pairs["all"]:,} (query, positive) pairs with up to
{facts.num_negatives} negatives each. {facts.pairs["short"]:,} pairs have fewer, {facts.pairs["empty"]:,} have none.

## Use

{_use(facts, columns)}

## What happened to the candidates

Every candidate that search found, once for each pair of its query:

| | candidates |
|---|---|
{rows}

## How it was made

```yaml
{yaml.safe_dump(told, sort_keys=False).strip()}
```
"""


def _use(facts: CardFacts, columns: list[str]) -> str:
    names = ", ".join(f"`{name}`" for name in columns)
    if facts.file_format == "parquet":
        return f"""```python
from datasets import load_dataset

train = load_dataset("path/to/this/folder", split="train")         # {", ".join(columns)}
full = load_dataset("path/to/this/folder", "full", split="train")  # ids, scores and metadata too
```

`SentenceTransformerTrainer` trains on `train` as it is."""
    return f"""JSON lines; {names} are for the trainer, the other keys are ids, scores and metadata:

```python
from datasets import load_dataset

train = load_dataset("path/to/this/folder", split="train").select_columns({columns!r})
```"""
