"""The two verbs of an engine, on each engine."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from operators.errors import InputError
from pipelines.engines import Engine, Pool, Shuffle, Stats, Unit
from pipelines.engines.deferred import DeferredEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.ray_data import RayEngine

UNITS = [Unit(f"{n:02d}", {"n": n}) for n in range(7)]
SCHEMA = pa.schema({"n": pa.int64(), "text": pa.string()})


@pytest.fixture(params=["local", "ray", "deferred"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray_session")
        return RayEngine()
    return LocalEngine() if request.param == "local" else DeferredEngine("local", LocalEngine)


class Square:
    def __call__(self, unit: Unit) -> Stats:
        return {"square": unit.args["n"] ** 2}


class Refuse:
    def __call__(self, unit: Unit) -> Stats:
        raise InputError(f"unit {unit.name} is not to be had")


class ByParity:
    """Routes n copies of n to bucket 0 or 1, and nothing to bucket 2."""

    def __call__(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        n = unit.args["n"]
        yield n % 2, pa.table({"n": [n] * n, "text": [str(n)] * n}, schema=SCHEMA)


def total(bucket: int, rows: pa.Table) -> Stats:
    assert rows.schema == SCHEMA
    return {"sum": sum(rows.column("n").to_pylist()), "bucket": bucket}


@pytest.mark.parametrize("pool", [Pool(), Pool(workers=2, stateful=True)])
def test_map_does_every_unit_once(engine: Engine, pool: Pool) -> None:
    results = list(engine.map(Square, UNITS, pool))
    assert len(results) == 7
    assert dict(results) == {f"{n:02d}": {"square": n * n} for n in range(7)}


def test_shuffle_brings_the_rows_of_a_bucket_together_even_if_there_are_none(engine: Engine) -> None:
    results = dict(engine.shuffle(Shuffle(ByParity, UNITS, total, range(3), SCHEMA)))
    assert results == {
        "00000": {"sum": 4 + 16 + 36, "bucket": 0},
        "00001": {"sum": 1 + 9 + 25, "bucket": 1},
        "00002": {"sum": 0, "bucket": 2},
    }


def test_refused_input_comes_back_as_it_was_said(engine: Engine) -> None:
    with pytest.raises(InputError, match=r"^unit 00 is not to be had$"):
        list(engine.map(Refuse, UNITS[:1], Pool()))
