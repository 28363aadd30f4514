"""Vectors of candidates for draws, end to end: the same rows on every engine, in any partitions, and as by hand."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.pairs import Pairs
from operators.keys import keys_of
from operators.schemas import matrix_of, to_numpy
from pipelines.results import Mined
from pipelines.run import mine
from tests.integration.conftest import configuration, dataset

HERE = "tests.integration.test_diverse"
MOST, WINDOW = 3, 50
COLUMNS = [("query_id", "ascending"), ("positive_id", "ascending"), ("negative_id", "ascending")]


class FirstValue(Draw):
    """A draw of a user, for any similarity: the highest first value of the vector."""

    needs = ("vector",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        vectors, row = pairs.vectors
        return vectors[:, 0].astype(np.float64)[row]


def mined(place: Path, data: dict[str, Any], **sections: Any) -> Mined:  # noqa: ANN401
    """Mine the collection with vectors, in small partitions unless it says otherwise."""
    data = {"partition_rows": 32, **data}
    sections = {"encoder": {"similarity": "cosine"}, **sections}
    return mine(configuration(place, None, None, data=data, **sections), progress=False)


def vectors_by_key(data: dict[str, Any]) -> dict[int, Any]:
    """The vectors of the documents as they are given, at length 1."""
    table = pq.read_table(data["corpus"]["path"])
    vectors = matrix_of(table["vector"].cast(pa.list_(pa.float32(), len(table["vector"][0])))).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return dict(zip(keys_of(table["doc_id"]).tolist(), vectors / lengths, strict=True))


def by_row(negatives: pa.Table) -> dict[tuple[int, int], set[int]]:
    """What each row has."""
    rows: dict[tuple[int, int], set[int]] = defaultdict(set)
    for one in negatives.to_pylist():
        rows[one["query_key"], one["positive_key"]].add(one["doc_key"])
    return rows


def test_rows_are_the_same_on_every_engine_and_in_any_partitions(
    with_vectors: dict[str, Any], tmp_path: Path, engine: str
) -> None:
    """With a cap, and with candidates that proposers named; of several shards."""
    sections: dict[str, Any] = {
        "proposers": ["explicit", {"proposer": "uniform", "limit": 8}],
        "index": {"factory": "exact", "shard_rows": 200},
        "select": {
            "max_rows_per_document": MOST,
            "draws": [
                {"strategy": "diverse", "num_negatives": 2, "trade_off": 0.4},
                {"strategy": "diverse", "num_negatives": 1, "source": "uniform"},
                {"strategy": f"{HERE}:FirstValue", "num_negatives": 1},
            ],
        },
    }
    of_engine = mined(tmp_path / engine, with_vectors, **sections, engine={"name": engine})
    rows = dataset(tmp_path / engine)
    if engine == "local":
        mined(tmp_path / "one", {**with_vectors, "partition_rows": 10_000}, **sections)
        assert rows.sort_by(COLUMNS).equals(dataset(tmp_path / "one").sort_by(COLUMNS))
    else:
        mined(tmp_path / "local", with_vectors, **sections)
        assert rows.equals(dataset(tmp_path / "local"))
    assert of_engine.report["matching_rounds"] > 1
    negatives = of_engine.output("select", "negatives")
    assert max(Counter(negatives["doc_key"].to_pylist()).values()) == MOST
    assert set(Counter(negatives["draw"].to_pylist())) == {"diverse (1)", "diverse (2)", f"{HERE}:FirstValue"}
    assert set(of_engine.stages["search"]["sides"]) >= {"all", "short", "proposed", "vectors"}
    assert not list((tmp_path / engine).glob("search/vectors/*/wanted")), "what is temporary is removed"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_chosen_is_what_the_formula_says(with_vectors: dict[str, Any], tmp_path: Path, dtype: str) -> None:
    """Greedily by hand, from the vectors in the source; in a few rows two values are nearer than rounding tells."""
    draw = {"strategy": "diverse", "num_negatives": 4, "trade_off": 0.3}
    run = mined(
        tmp_path,
        with_vectors,
        encoder={"similarity": "cosine", "vector_dtype": dtype},
        select={"draws": [draw], "range_max": WINDOW},
    )
    found = run.output("search/all", "candidates")
    found = found.filter(pa.array(to_numpy(found, "positive_kind") == 0))
    of_query: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for query, document, score in zip(
        *(to_numpy(found, n).tolist() for n in ("query_key", "doc_key", "score")), strict=True
    ):
        of_query[query].append((document, score))
    vectors, rows, alike = vectors_by_key(with_vectors), by_row(run.output("select", "negatives")), 0
    for (query, _), chosen in rows.items():
        documents, scores = zip(*of_query[query][:WINDOW], strict=True)
        matrix = np.array([vectors[one] for one in documents])
        taken = [0]
        while len(taken) < 4:
            value = 0.3 * np.array(scores) - 0.7 * (matrix @ matrix[taken].T).max(axis=1)
            value[taken] = -np.inf
            taken.append(int(value.argmax()))
        alike += {documents[one] for one in taken} == chosen
    assert len(rows) > 300
    assert alike >= 0.97 * len(rows)


def test_a_draw_of_the_user_reads_vectors_of_any_similarity(with_vectors: dict[str, Any], tmp_path: Path) -> None:
    """Vectors are carried where a draw reads them; another selection that does not leaves the stage out."""
    select = {"draws": [{"strategy": f"{HERE}:FirstValue", "num_negatives": 1}], "range_max": WINDOW}
    run = mined(tmp_path, with_vectors, encoder={"similarity": "dot"}, select=select)
    negatives = run.output("select", "negatives")
    found = run.output("search/all", "candidates")
    table = pq.read_table(with_vectors["corpus"]["path"])
    first = dict(zip(keys_of(table["doc_id"]).tolist(), (one[0] for one in table["vector"].to_pylist()), strict=True))
    eligible = found.filter(pa.array(to_numpy(found, "positive_kind") == 0))
    best: dict[int, float] = defaultdict(lambda: -np.inf)
    for query, document in zip(eligible["query_key"].to_pylist(), eligible["doc_key"].to_pylist(), strict=True):
        best[query] = max(best[query], first[document])
    assert all(first[one["doc_key"]] == pytest.approx(best[one["query_key"]]) for one in negatives.to_pylist())
    carried = run.output("search/vectors", "vectors")
    assert len(set(carried["doc_key"].to_pylist())) <= 500
    again = mined(tmp_path, with_vectors, encoder={"similarity": "dot"}, select={"num_negatives": 1})
    assert "vectors" not in again.stages["search"]["sides"]
