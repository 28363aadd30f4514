"""The card's header is what `load_dataset` reads, and its columns are those of the files."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from operators.datasets.card import CardFacts, card, features_of, filled
from operators.datasets.export import FORMATS, FileFormat, layout_of
from tests.unit.operators.datasets.test_formats import ROWS, mined

SECTIONS = ("clean", "encoder", "index", "search", "select", "export")
PARQUET = [layout for layout in FORMATS if not layout_of(layout).jsonl_only]


def written(layout: str, file_format: FileFormat = "parquet", **facts: Any) -> str:  # noqa: ANN401
    given: dict[str, Any] = {
        "rows": 12345,
        "num_negatives": 2,
        "counts": {"chosen": 9876543, "relative_margin": 7},
        "pairs": {"all": 4000, "short": 31, "empty": 17},
        "configuration": {name: {"setting of": name} for name in (*SECTIONS, "secret")},
        "digest": "0123456789abcdef",
        **facts,
    }
    return card(CardFacts(layout=layout, file_format=file_format, **given))


def header(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    parsed: dict[str, Any] = yaml.safe_load(head)
    return parsed


@pytest.mark.parametrize("layout", PARQUET)
def test_load_dataset_gives_the_columns_to_train_on_and_all_of_them_on_request(layout: str, tmp_path: Path) -> None:
    from datasets import load_dataset

    table = layout_of(layout)(mined(ROWS, num_negatives=2))
    folder = tmp_path / layout
    folder.mkdir()
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(written(layout))
    cache = str(tmp_path / "cache")

    train = load_dataset(str(folder), split="train", cache_dir=cache)
    full = load_dataset(str(folder), "full", split="train", cache_dir=cache)

    columns = layout_of(layout).training_columns(2)
    assert train.column_names == columns
    assert train.to_list() == table.select(columns).to_pylist()
    assert full.column_names == table.column_names
    assert full.num_rows == table.num_rows


@pytest.mark.parametrize("layout", FORMATS)
def test_the_header_of_json_lines_names_the_files_and_no_columns(layout: str) -> None:
    """The JSON reader of `datasets` takes no columns; the card shows how to select them."""
    text = written(layout, "jsonl")
    described = "rows with the digest 0123456789abcdef"
    assert header(text)["configs"] == [
        {"config_name": "default", "default": True, "data_files": "*.jsonl", "description": described},
        {"config_name": "full", "data_files": "*.jsonl", "description": described},
    ]
    if not layout_of(layout).jsonl_only:
        assert f"select_columns({layout_of(layout).training_columns(2)!r})" in text


@pytest.mark.parametrize("layout", FORMATS)
def test_types_are_declared_as_datasets_itself_would(layout: str) -> None:
    from datasets import Features

    schema = layout_of(layout).arrow_schema(2)
    assert features_of(schema) == Features.from_arrow_schema(schema)._to_yaml_list()
    declared = {one["config_name"]: one["features"] for one in header(written(layout, "jsonl"))["dataset_info"]}
    assert declared == dict.fromkeys(("default", "full"), features_of(schema))


@pytest.mark.parametrize("layout", ["triplet", "n-tuple"])
def test_the_card_says_that_a_batch_must_not_repeat_a_text(layout: str) -> None:
    assert 'batch_sampler="no_duplicates"' in written(layout)
    assert "as it is" not in written(layout)


def test_a_card_of_no_rows_says_so() -> None:
    assert "There are no rows" in written("triplet", rows=0)


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_pairs_are_full_short_or_empty_and_the_three_make_up_all(full: int, short: int, empty: int) -> None:
    said = filled(full + short + empty, short, empty)
    numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", said)]
    assert numbers == [full + short + empty, full, short, empty]


def test_the_card_tells_the_counts_and_the_configuration() -> None:
    text = written("triplet")
    for part in (
        "12,345 rows",
        "4,000 (query, positive) pairs",
        "3,952 with all negatives, 31 with fewer, 17 with none",
        "2 negatives each",
    ):
        assert part in text
    assert "| chosen | 9,876,543 |\n| relative_margin | 7 |\n" in text
    configuration = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert configuration == {name: {"setting of": name} for name in SECTIONS}
