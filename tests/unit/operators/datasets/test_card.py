"""The card's header is what `load_dataset` reads, and its columns are those of the files."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from operators.datasets.card import CardFacts, card
from operators.datasets.formats import JSONL_ONLY, LAYOUTS, FileFormat, Format, training_columns
from tests.unit.operators.datasets.test_formats import ROWS, mined

SECTIONS = ("clean", "encoder", "index", "search", "select", "export")
PARQUET = [layout for layout in LAYOUTS if layout not in JSONL_ONLY]


def written(layout: Format, file_format: FileFormat = "parquet", **facts: Any) -> str:  # noqa: ANN401
    given: dict[str, Any] = {
        "rows": 12345,
        "num_negatives": 2,
        "counts": {"chosen": 9876543, "relative_margin": 7},
        "pairs": {"all": 4000, "short": 31, "empty": 17},
        "configuration": {name: {"setting of": name} for name in (*SECTIONS, "secret")},
        **facts,
    }
    return card(CardFacts(layout=layout, file_format=file_format, **given))


def header(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    parsed: dict[str, Any] = yaml.safe_load(head)
    return parsed


@pytest.mark.parametrize("layout", PARQUET)
def test_load_dataset_gives_the_columns_to_train_on_and_all_of_them_on_request(layout: Format, tmp_path: Path) -> None:
    from datasets import load_dataset

    table = LAYOUTS[layout](mined(ROWS, num_negatives=2))
    folder = tmp_path / layout
    folder.mkdir()
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(written(layout))
    cache = str(tmp_path / "cache")

    train = load_dataset(str(folder), split="train", cache_dir=cache)
    full = load_dataset(str(folder), "full", split="train", cache_dir=cache)

    columns = training_columns(layout, 2)
    assert train.column_names == columns
    assert train.to_list() == table.select(columns).to_pylist()
    assert full.column_names == table.column_names
    assert full.num_rows == table.num_rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_header_of_json_lines_names_the_files_and_no_columns(layout: Format) -> None:
    """The JSON reader of `datasets` takes no columns; the card tells how to select them."""
    text = written(layout, "jsonl")
    assert header(text)["configs"] == [{"config_name": "default", "default": True, "data_files": "*.jsonl"}]
    assert f"select_columns({training_columns(layout, 2)!r})" in text


def test_the_card_tells_the_counts_and_the_configuration() -> None:
    text = written("triplet")
    for told in (
        "12,345 rows",
        "4,000 (query, positive) pairs",
        "3,952 with all negatives, 31 with fewer, 17 with none",
        "2 negatives each",
    ):
        assert told in text
    assert "| chosen | 9,876,543 |\n| relative_margin | 7 |\n" in text
    configuration = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert configuration == {name: {"setting of": name} for name in SECTIONS}
