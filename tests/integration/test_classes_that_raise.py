"""Classes of users that raise, or give something else than is wanted: one line that names the section and the class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.candidates.draw import Draw, Priority
from operators.candidates.draws.top import Top
from operators.candidates.filter import Filter, Mask
from operators.candidates.pairs import Pairs
from operators.candidates.proposer import Proposer
from operators.candidates.signal import Signal
from operators.errors import InputError
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration

HERE = "tests.integration.test_classes_that_raise"


class RaisingFilter(Filter):
    reason = "raising"

    def drops(self, pairs: Pairs) -> Mask:
        return np.asarray(pairs["score"] > 1 / (len(pairs) - len(pairs)))


class RaisingDraw(Draw):
    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        raise KeyError("no\nsuch key")


class RaisingProbability(Top):
    def log_probability(self, pairs: Pairs, free: Mask) -> Priority:
        raise RuntimeError("no number")


class RaisingSignal(Signal):
    gives = "raised"

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        raise ValueError("no number")


class OneSignal(Signal):
    gives = "raised"

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        return np.zeros(1, np.float32)


class ReadsIt(Draw):
    needs = ("raised",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return np.asarray(pairs["raised"], dtype=np.float64)


class RaisingProposer(Proposer):
    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        return pq.read_table("no_such_file.parquet")


class NoTable(Proposer):
    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        return queries.to_pydict()


# What to configure, the class in it, what is said before and after its name, and the cause.
RAISING: list[tuple[str, str, str, str, type[Exception]]] = [
    ("filters", "RaisingFilter", "select.filters", "drops: ZeroDivisionError: division by zero", ZeroDivisionError),
    ("draws", "RaisingDraw", "select.draws", r"priority: KeyError: 'no\\nsuch key'", KeyError),
    ("draws", "RaisingProbability", "select.draws", "log_probability: RuntimeError: no number", RuntimeError),
    ("signals", "RaisingSignal", "signals", "__call__: ValueError: no number", ValueError),
    ("proposers", "RaisingProposer", "proposers.RaisingProposer", "__call__: FileNotFoundError: ", FileNotFoundError),
]


def of_class(folder: Path, collection: Collection, model: Path, section: str, name: str) -> Any:  # noqa: ANN401
    """Configure a class of this module; a signal is read by a draw, else it is not computed."""
    named: dict[str, Any] = {section: [f"{HERE}:{name}"]}
    if section in {"filters", "draws"}:
        named = {"select": named}
    elif section == "signals":
        named["select"] = {"draws": [f"{HERE}:ReadsIt"]}
    return configuration(folder, collection, model, **named)


def test_a_class_that_raises_ends_the_run_in_one_line_that_names_it(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    for section, name, place, said, cause in RAISING:
        message = rf"^{place}: {HERE}:{name}: {name}\.{said}.* \(line \d+ of \w+\.\w+\)\. Correct this class"
        with pytest.raises(InputError, match=message) as error:
            mine(of_class(tmp_path, collection, static_model, section, name), until="select", progress=False)
        assert cause in map(type, chain_of(error.value)), "the traceback of the class is kept"


@pytest.mark.parametrize(
    ("section", "name", "message"),
    [
        ("signals", "OneSignal", rf"^signals: {HERE}:OneSignal: numbers of shape \(\d+,\) are wanted, not of \(1,\)"),
        ("proposers", "NoTable", f"^proposers.NoTable: {HERE}:NoTable: a pyarrow.Table is wanted, not dict"),
    ],
)
def test_what_is_no_signal_or_proposal_ends_the_run_in_one_line(
    collection: Collection, static_model: Path, tmp_path: Path, section: str, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        mine(of_class(tmp_path, collection, static_model, section, name), until="select", progress=False)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
