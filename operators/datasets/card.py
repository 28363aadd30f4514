"""The dataset card, a file beside the training data: for the person who finds it, and for `load_dataset`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from operators.datasets.export import FileFormat, layout_of

# Of the configuration, what decides the rows; empty sections are left out.
SECTIONS = ("clean", "encoder", "index", "search", "proposers", "signals", "select", "export")


@dataclass(frozen=True)
class CardFacts:
    """What a card reports.

    Attributes:
        layout: the format of the data beside it.
        file_format: of the files.
        rows: how many there are.
        num_negatives: how many negatives a full row has.
        counts: what happened to the candidates: reason -> count.
        pairs: how many (query, positive) pairs were mined (`all`), and how many of them have some but not all of their
            negatives (`short`) or none (`empty`).
        configuration: how it was made, as it is saved with the run.
        digest: of the content of the data files.
    """

    layout: str
    file_format: FileFormat
    rows: int
    num_negatives: int
    counts: Mapping[str, int]
    pairs: Mapping[str, int]
    configuration: Mapping[str, Any]
    digest: str


def filled(pairs: int, short: int, empty: int) -> str:
    """Say how many (query, positive) pairs got all their negatives, how many some, and how many none."""
    named = f"{pairs:,} (query, positive) {'pair' if pairs == 1 else 'pairs'}"
    return f"{named}: {pairs - short - empty:,} with all negatives, {short:,} with fewer, {empty:,} with none"


def card(facts: CardFacts) -> str:
    """Write the card (README.md) of one format. Its header tells `load_dataset` the columns to train on, and types.

    Types are declared, so that columns which hold only nulls in the first file, and files without rows, open too.
    """
    columns = layout_of(facts.layout).training_columns(facts.num_negatives)
    header = {"tags": ["sentence-transformers", "hard-negatives", "hardneg"], **_configs(facts, columns)}
    shown = {key: facts.configuration[key] for key in SECTIONS if facts.configuration.get(key)}
    rows = "\n".join(f"| {reason} | {count:,} |" for reason, count in facts.counts.items())
    pairs = filled(facts.pairs["all"], facts.pairs["short"], facts.pairs["empty"])
    return f"""---
{yaml.safe_dump(header, sort_keys=False).strip()}
---

# Hard negatives: {facts.layout}

{facts.rows:,} rows, mined with hardneg for up to {facts.num_negatives} negatives each from
{pairs}. {_left_out(facts)}

## Use

{_use(facts, columns)}

## What happened to the candidates

Every candidate, once for each pair of its query:

| | candidates |
|---|---|
{rows}

## How it was made

```yaml
{yaml.safe_dump(shown, sort_keys=False).strip()}
```
"""


def _configs(facts: CardFacts, columns: list[str]) -> dict[str, Any]:
    """Return the entries of the header that `load_dataset` reads: two views of the files, and the types of both.

    Of a local folder `load_dataset` knows what it has in its cache by this header and the folder's name alone: without
    the digest it gives the rows of another run, or of this one before it was mined again.
    """
    schema = layout_of(facts.layout).arrow_schema(facts.num_negatives)
    files = {"data_files": f"*.{facts.file_format}", "description": f"rows with the digest {facts.digest}"}
    default: dict[str, Any] = {"config_name": "default", "default": True, **files}
    of_default = schema
    if facts.file_format == "parquet":  # the reader of JSON lines takes all columns or none
        default["columns"] = columns
        of_default = pa.schema([schema.field(name) for name in columns])
    return {
        "configs": [default, {"config_name": "full", **files}],
        "dataset_info": [
            {"config_name": "default", "features": features_of(of_default)},
            {"config_name": "full", "features": features_of(schema)},
        ],
    }


def features_of(schema: pa.Schema | pa.StructType) -> list[dict[str, Any]]:
    """Return columns and types as the header of a card declares them."""
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = kind.value_type
        return {"list": features_of(inner) if pa.types.is_struct(inner) else str(inner).replace("float", "float32")}
    return {"dtype": str(kind).replace("float", "float32")}


def _left_out(facts: CardFacts) -> str:
    return layout_of(facts.layout).left_out.format(count=facts.num_negatives)


def _use(facts: CardFacts, columns: list[str]) -> str:
    if not facts.rows:
        return (
            "There are no rows: loosen the filters, or mine deeper. (`load_dataset` opens no split without rows, but "
            "with `streaming=True`.)"
        )
    layout = layout_of(facts.layout)
    if layout.jsonl_only:
        return layout.use
    folder = "path/to/this/folder"
    if facts.file_format == "parquet":
        opened = f"""train = load_dataset("{folder}", split="train")         # {", ".join(columns)}
full = load_dataset("{folder}", "full", split="train")  # ids, scores and metadata too"""
    else:
        opened = f"""full = load_dataset("{folder}", split="train")  # ids, scores and metadata too
train = full.select_columns({columns!r})"""
    return f"""```python
from datasets import load_dataset

{opened}
```

{layout.use}"""
