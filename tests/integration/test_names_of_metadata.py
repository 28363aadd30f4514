"""Names and types of metadata that cannot be there are refused before anything is encoded, with the key."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from operators.errors import InputError
from pipelines.run import mine
from tests.integration.conftest import configuration

CORPUS = {"year": 1, "clicks": 2, "domain": "law", "tags": ["a"], "metadata": {"nested": 1}}
QUERIES = {"domain": "law", "since": 3}
MEANT = "Did you mean 'clicks'? The names there are 'year', 'clicks', 'domain'"
TEXT = "is text, and a weight is made of a number"


def write(path: Path, ids: str, beside: dict[str, Any]) -> str:
    """Write three rows, of which each has the same metadata."""
    rows = [{ids: f"{ids[0]}{n}", "text": f"text number {n}", **beside} for n in range(3)]
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pa.csv.write_csv(table.select([name for name in table.column_names if name not in {"tags", "metadata"}]), path)
    return str(path)


def data(folder: Path, ending: str = "parquet") -> dict[str, Any]:
    """Return sources whose metadata are known at the start."""
    judged = pa.table({"query_id": ["q0", "q1"], "doc_id": ["d0", "d1"]})
    pq.write_table(judged, folder / "judgements.parquet")
    return {
        "corpus": {"path": write(folder / f"corpus.{ending}", "doc_id", CORPUS)},
        "queries": {"path": write(folder / f"queries.{ending}", "query_id", QUERIES)},
        "judgements": {"path": str(folder / "judgements.parquet")},
    }


def proposing(**section: str | list[str]) -> dict[str, Any]:
    return {"proposers": [section]}


def drawing(where: str) -> dict[str, Any]:
    draws = [{"strategy": "top", "num_negatives": 1}, {"strategy": "top", "num_negatives": 1, "where": where}]
    return {"select": {"draws": draws}}


def grouping(field: str) -> dict[str, Any]:
    filters = [{"filter": "max_rank", "limit": 9}, {"filter": "same_group", "field": field}]
    return {"select": {"filters": filters}}


def refusal(folder: Path, sources: dict[str, Any], sections: dict[str, Any]) -> str:
    """The model is looked at after the sources: none is there, so what is not refused before fails for it."""
    config = configuration(folder / "run", None, Path("no_such_model"), data=sources, **sections)
    with pytest.raises(InputError) as refused:
        mine(config, progress=False)
    assert not (folder / "run" / "prepare").exists()
    return str(refused.value)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (proposing(proposer="frequency", by="clikcs"), f"frequency.by: no document has the metadata 'clikcs'. {MEANT}"),
        (proposing(proposer="custom", by="x"), "proposers.custom.by: no document has the metadata 'x'. The names"),
        (proposing(proposer="metadata", where="yaer < 3", source="old"), "proposers.old.where: no document has"),
        (proposing(proposer="uniform", where="year < query.sicne"), "no query has the metadata 'sicne'. Did you mean"),
        (proposing(proposer="cross_domain", field="topic"), "cross_domain.field: no document has the metadata 'topic'"),
        (proposing(proposer="cross_domain", field="year"), "cross_domain.field: no query has the metadata 'year'"),
        (proposing(proposer="same_document", field="book"), "proposers.same_document.field: no document has"),
        (drawing("yaer < 2010"), "select.draws.1.where: no document has the metadata 'yaer'. Did you mean 'year'"),
        (drawing("domain == query.domian"), "select.draws.1.where: no query has the metadata 'domian'"),
        (drawing('year < "2010"'), "1.where: 'year < \"2010\"': year is a number, and '2010' is text. Compare"),
        (drawing("domain in [1, 2]"), "1.where: 'domain in [1, 2]': domain is text, and [1, 2] holds a number."),
        (drawing("query.since == domain"), "query.since is a number, and domain is text"),
        (proposing(proposer="frequency", by="domain"), f"proposers.frequency.by: the metadata 'domain' {TEXT}"),
        (proposing(proposer="same_document", field="tags"), "field: the metadata 'tags' holds lists or objects"),
        (grouping("clikcs"), f"select.filters.1.field: no document has the metadata 'clikcs'. {MEANT}"),
        (grouping("tags"), "select.filters.1.field: the metadata 'tags' holds lists or objects"),
    ],
)  # fmt: skip
def test_what_no_row_can_have_is_refused_with_its_key(sections: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, data(tmp_path), sections)


@pytest.mark.parametrize(
    "sections",
    [
        drawing("year < 2010.5 and domain != query.domain and nested == 1 and query.since in [1.5]"),
        proposing(proposer="cross_domain", domains=["law"]),
        proposing(proposer="frequency", by="nested"),
        proposing(proposer="same_document", field="year"),
        grouping("nested"),
    ],
)
def test_what_is_there_is_not_refused(sections: dict[str, Any], tmp_path: Path) -> None:
    assert "no_such_model" in refusal(tmp_path, data(tmp_path), sections)


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_header_names_all_and_its_columns_are_texts(ending: str, tmp_path: Path) -> None:
    sources = data(tmp_path, "csv")
    for kind in ("corpus", "queries"):
        sources[kind]["path"] = separated(Path(sources[kind]["path"]), ending)
    assert "no document has the metadata 'yaer'" in refusal(tmp_path, sources, drawing("yaer < 2010"))
    assert "CSV and TSV files hold texts alone" in refusal(tmp_path, sources, drawing("year < 2010"))
    assert TEXT in refusal(tmp_path, sources, proposing(proposer="frequency", by="clicks"))
    assert "no_such_model" in refusal(tmp_path, sources, drawing("domain == query.domain"))


def separated(path: Path, ending: str) -> str:
    if ending == "tsv":
        plain = path.read_text(encoding="utf-8").replace('"', "").replace(",", "\t")
        path = path.with_suffix(".tsv")
        path.write_text(plain, encoding="utf-8")
    return str(path)


def jsonl(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "corpus.jsonl"
    named = [{"doc_id": f"d{n}", "text": f"text number {n}", **row} for n, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in named), encoding="utf-8")
    return str(path)


def test_a_later_row_of_jsonl_may_have_a_name_unless_the_source_lists_what_it_keeps(tmp_path: Path) -> None:
    sources, late = data(tmp_path), drawing("late < 3")
    path = jsonl(tmp_path, [{"year": 1}, {"year": 2}, {"late": 1}])
    sources["corpus"] = {"path": path}
    assert "no_such_model" in refusal(tmp_path, sources, drawing("unseen < 3"))
    sources["corpus"] = {"path": [path, data(tmp_path)["corpus"]["path"]]}
    assert "no_such_model" in refusal(tmp_path, sources, late)
    sources["corpus"] = {"path": path, "metadata": ["year"]}
    assert "leaves this column out. Name it there." in refusal(tmp_path, sources, late)
    sources["corpus"] = {"path": path, "metadata": "none"}
    assert "They have no metadata" in refusal(tmp_path, sources, drawing("unseen < 3"))


def test_columns_beside_those_of_pairs_are_of_queries(tmp_path: Path) -> None:
    pairs = pa.table({"query": ["a", "b"], "positive": ["c", "d"], "year": [1, 2]})
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    sources = {"pairs": str(tmp_path / "pairs.parquet")}
    assert "no document has the metadata 'year'. They have no" in refusal(tmp_path, sources, drawing("year < 3"))
    assert "no_such_model" in refusal(tmp_path, sources, drawing("query.year < 3"))
