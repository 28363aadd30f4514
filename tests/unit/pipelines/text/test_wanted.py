"""Who wants what, against a dictionary; and what that brings: positives, in pieces, and none that is missing."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.schemas import JUDGEMENTS, positive_vectors_schema, to_numpy, vectors_schema
from operators.vectors.geometry import AS_THEY_ARE
from pipelines.runtime.engines import Unit
from pipelines.runtime.engines.local import LocalEngine
from pipelines.runtime.execution import Execution
from pipelines.runtime.progress import Progress
from pipelines.runtime.shuffle import Route, Shuffle
from pipelines.runtime.storage.cache import Cache
from pipelines.runtime.storage.records import Record
from pipelines.runtime.storage.run_directory import StageFolder
from pipelines.text.stages import wanted as module
from pipelines.text.stages.search import carry
from pipelines.text.stages.search.positives import WritePositives
from pipelines.text.stages.search.shards import OpenShards
from pipelines.text.stages.wanted import WANTED, OpenWanted, wanted_by
from tests.unit.operators.tables import query_vectors, shard_of

KEYS = st.one_of(st.integers(0, 20), st.sampled_from([2**63 - 1, 2**63 - 2]))


def execution_in(folder: StageFolder) -> Execution:
    return Execution("stage", folder, {}, LocalEngine(), Progress())


def named(record: Record) -> npt.NDArray[np.int64]:
    return np.array(record["keys"], np.int64)


def wanted_in(folder: StageFolder, parts: Sequence[set[int]]) -> Sequence[Record]:
    records = [{"keys": sorted(keys)} for keys in parts]
    return wanted_by(execution_in(folder), "step", records, named, sum(map(len, parts)))


@given(
    st.lists(st.sets(KEYS, max_size=9), min_size=1, max_size=5),
    st.lists(KEYS, unique=True),
    st.integers(1, 50),
    st.integers(1, 50),
)
@settings(max_examples=25, deadline=None)
def test_every_partition_that_names_a_document_is_found_once(
    parts: list[set[int]], documents: list[int], keys_per_bucket: int, at_once: int
) -> None:
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KEYS_PER_BUCKET", keys_per_bucket)
        patch.setattr(module, "KEYS_AT_ONCE", at_once)
        folder = StageFolder(place)
        opened = OpenWanted(folder, wanted_in(folder, parts), Cache(f"{place}/cache", 0))
        found = list(opened.among(np.array(documents, np.int64)))
    assert all((np.diff(row) >= 0).all() for _, row in found)
    pairs = [(documents[row], part) for some in found for part, row in zip(*map(np.ndarray.tolist, some), strict=True)]
    named_by = [(document, part) for part, keys in enumerate(parts) for document in keys & set(documents)]
    assert sorted(pairs) == sorted(named_by)


def test_nothing_is_listed_for_a_step_that_is_done(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path))
    parts = [{1, 2}, {2}]
    assert wanted_in(folder, parts)
    folder.clear(WANTED)
    assert not (tmp_path / WANTED).exists()  # the names of its files are ones that stages write
    buckets = [Unit(f"{i:05d}", {}) for i in range(2)]
    execution_in(folder).map("step", lambda: lambda _: {"rows_out": 0}, buckets[:1])
    assert wanted_in(folder, parts)
    execution_in(folder).map("step", lambda: lambda _: {"rows_out": 0}, buckets)
    assert wanted_in(folder, parts) == []


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_a_shard_gives_each_vector_once_to_each_partition_and_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((50, 4)).astype(np.float32)
    keys = generator.permutation(np.arange(50) * 3)
    shard = shard_of(vectors, keys, keys)
    parts = [set(keys[::2].tolist()), {1, 2}, set(keys[:20].tolist())]
    folder = StageFolder(str(tmp_path))
    cache = Cache(str(tmp_path / "cache"), 0)
    shards = OpenShards(folder, cache, AS_THEY_ARE)
    monkeypatch.setattr(shards, "open", lambda _: shard)
    monkeypatch.setattr(carry, "PIECE_BYTES", rows * 4 * 4)
    route = carry.RouteVectors(shards, folder, wanted_in(folder, parts))
    pieces = list(route(Unit("00000", {})))
    assert all(len(part) == table.num_rows <= rows for part, table in pieces)
    given_ = {
        (part, key): tuple(vector)
        for of_piece, table in pieces
        for part, key, vector in zip(
            of_piece.tolist(), to_numpy(table, "key").tolist(), table.column("vector").to_pylist(), strict=True
        )
    }
    at = dict(zip(keys.tolist(), vectors.tolist(), strict=True))
    assert given_ == {(part, key): tuple(at[key]) for part in (0, 2) for key in parts[part]}
    assert sum(table.num_rows for _, table in pieces) == len(given_)


def routing(rows: pa.Table) -> Route:
    return lambda _: [(np.zeros(rows.num_rows, np.int64), rows)]


def test_a_positive_whose_vector_does_not_arrive_is_an_error(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path))
    judged = [
        {"query_key": 5, "doc_key": key, "text_key": key, "relevance": score, "label": None}
        for key, score in ((8, 1.0), (7, 2.0), (6, 0.0), (8, 3.0))
    ]
    args = {
        "queries": folder.write_table("queries/part-00000.arrow", query_vectors([5], np.ones((1, 2), np.float32))),
        "judgements": folder.write_table(
            "judgements/part-00000.parquet", pa.Table.from_pylist(judged, schema=JUDGEMENTS)
        ),
    }
    schema = positive_vectors_schema(2)
    rows_ = [{"key": 7, "text_key": 7, "vector": [1, 2]}, {"key": 8, "text_key": 8, "vector": [3, 4]}]
    arriving = vectors_schema(2)
    arrived = pa.Table.from_pylist(rows_, arriving)
    write = WritePositives((folder, folder, folder), schema, AS_THEY_ARE)
    for number, rows in enumerate((arrived, arrived.slice(1), arrived.slice(0, 0))):
        units, bucket = [Unit("00000", {"n": number})], Unit("00000", args)
        shuffle = Shuffle(partial(routing, rows), units, lambda: write, [bucket], arriving)
        if number:
            with pytest.raises(LookupError, match="vector did not arrive"):
                execution_in(folder).shuffle(f"step-{number}", shuffle)
            continue
        (stats,) = execution_in(folder).shuffle(f"step-{number}", shuffle)
        positives = folder.read_table(stats["file"])
        assert positives.schema == schema
        assert to_numpy(positives, "doc_key").tolist() == [8, 7, 8]
        assert to_numpy(positives, "relevance").tolist() == [1, 2, 3]
        assert to_numpy(positives, "score").tolist() == [7, 3, 7]
        assert positives.column("vector").to_pylist() == [[3, 4], [1, 2], [3, 4]]
