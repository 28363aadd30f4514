"""Classes of users: what they get wrong is one line or an error that names them; what they change is done again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.filter import Filter
from operators.candidates.pairs import Pairs
from operators.errors import InputError
from operators.schemas import to_numpy
from pipelines.run import mine
from pipelines.runtime.stage import Summary
from tests.examples import ids
from tests.integration.conftest import Collection, configuration, write_configuration

HERE = "tests.integration.test_user_classes"
FILTER = """
from operators.candidates.filter import Filter

class F(Filter):
    reason = "f_{name}"
    needs = ("score",)

    def drops(self, pairs):
        return pairs["score"] < {limit}
"""


class OneForAll(Filter):
    reason = "one_for_all"

    def drops(self, pairs: Pairs) -> Mask:
        return np.array([True])


class Numbers(Filter):
    reason = "numbers"

    def drops(self, pairs: Pairs) -> Mask:
        return np.zeros(len(pairs), np.int64)


class Undeclared(Filter):
    reason = "undeclared"

    def drops(self, pairs: Pairs) -> Mask:
        return np.asarray(pairs["score_gap"] > 0)


class Taken(Filter):
    reason = "negative"

    def drops(self, pairs: Pairs) -> Mask:
        return np.ones(len(pairs), np.bool_)


class WithoutReason(Filter):
    def drops(self, pairs: Pairs) -> Mask:
        return np.ones(len(pairs), np.bool_)


class Unfinished(Filter):
    reason = "unfinished"


class Deepest(Draw):
    """Prefers what is deepest, in a type whose values cannot be negated."""

    needs = ("rank",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return pairs["rank"].astype(np.uint8)


class Nowhere(Draw):
    """Takes every second candidate alone."""

    needs = ("rank",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return np.where(pairs["rank"] % 2, pairs["rank"], -np.inf)


class Unknown(Draw):
    """Knows a number for every second candidate alone."""

    needs = ("rank",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return np.where(pairs["rank"] % 2, pairs["rank"], np.nan)


class Short(Draw):
    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return np.zeros(1)


class ShortProbability(Nowhere):
    def log_probability(self, pairs: Pairs, free: Mask) -> Priority:
        return np.zeros(1)


class WordsAsProbability(Nowhere):
    def log_probability(self, pairs: Pairs, free: Mask) -> Priority:
        return np.full(len(pairs), "half")


@pytest.mark.parametrize(
    ("select", "error", "message"),
    [
        (
            {"filters": [f"{HERE}:OneForAll"]},
            InputError,
            r"select.filters: .*:OneForAll: OneForAll.drops: bool of shape \(\d+,\) is wanted",
        ),
        ({"filters": [f"{HERE}:Numbers"]}, InputError, "Numbers.drops: bool .* not int64"),
        ({"filters": [f"{HERE}:Undeclared"]}, InputError, "Undeclared.drops: LookupError: .*Name it in `needs`"),
        ({"draws": [f"{HERE}:Short"]}, InputError, "Short.priority: numbers of shape"),
        ({"draws": [f"{HERE}:Unknown"]}, InputError, r"select.draws: .*:Unknown: .* are not a number. Give -inf"),
        (
            {"draws": [f"{HERE}:ShortProbability"]},
            InputError,
            r"ShortProbability.log_probability: numbers .* of \(1,\)",
        ),
        ({"draws": [f"{HERE}:WordsAsProbability"]}, InputError, "WordsAsProbability.log_probability: .* not <U4"),
    ],
)
def test_a_wrong_result_names_the_class(
    collection: Collection, static_model: Path, tmp_path: Path, select: dict[str, Any], error: type, message: str
) -> None:
    config = configuration(tmp_path, collection, static_model, select=select)
    with pytest.raises(error, match=message):
        mine(config, until="select", progress=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Taken", "the reason 'negative' of .*Taken has another meaning"),
        ("WithoutReason", "does not define reason"),
        ("Unfinished", "does not define drops"),
        ("Missing", "the module tests.*test_user_classes defines no 'Missing'"),
    ],
)
def test_an_incomplete_class_is_refused_at_start(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=message):
        configuration(tmp_path, None, Path("m"), data={"beir": "folder"}, select={"filters": [f"{HERE}:{name}"]})


def test_priorities_of_any_type_are_numbers_and_nan_is_not_drawn(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    drawn = {}
    for name in ("Deepest", "Nowhere"):
        select = {"draws": [{"strategy": f"{HERE}:{name}", "num_negatives": 30}], "range_max": 50}
        config = configuration(tmp_path, collection, static_model, select=select)
        drawn[name] = mine(config, until="select", progress=False).output("select", "negatives")
    first = to_numpy(drawn["Deepest"], "query_key") == to_numpy(drawn["Deepest"], "query_key")[0]
    ranks = to_numpy(drawn["Deepest"], "rank")[first]
    assert ranks.min() >= 20
    assert set(to_numpy(drawn["Nowhere"], "rank") % 2) == {1}
    assert 0 < len(drawn["Nowhere"]) < len(drawn["Deepest"])


class Ids(ids.Ids):
    """Another format of the same name."""


def negatives_of(folder: Path, config: Path) -> str:
    """The line that a process of its own prints of `select`."""
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--until", "select"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return next(line for line in done.stderr.splitlines() if line.startswith("select: ") and "starting" not in line)


def test_changed_code_is_run_again(
    collection: Collection, static_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two classes of one name, and a base class in another file."""

    def write(name: str, limit: float) -> None:
        (tmp_path / f"{name}.py").write_text(FILTER.format(name=name, limit=limit), encoding="utf-8")

    write("lower", 0.1)
    write("upper", 0.2)
    derived = 'from lower import F\n\nclass G(F):\n    reason = "g"\n'
    (tmp_path / "derived.py").write_text(derived, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}")
    select = {"filters": ["lower:F", "upper:F", "derived:G"]}
    config = write_configuration(tmp_path, configuration(tmp_path / "run", collection, static_model, select=select))
    assert "reused" not in negatives_of(tmp_path, config)
    assert "reused" in negatives_of(tmp_path, config)
    write("lower", 0.6)
    assert "reused" not in negatives_of(tmp_path, config)


def test_draws_of_one_strategy_have_own_names(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    draws = [{"strategy": "top", "num_negatives": 1}, {"strategy": "top", "num_negatives": 2}, "random"]
    config = configuration(tmp_path, collection, static_model, select={"draws": draws})
    negatives = mine(config, until="select", progress=False).output("select", "negatives")
    assert set(negatives["draw"].to_pylist()) == {"top (1)", "top (2)", "random"}


def test_a_run_returns_its_own_rows(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    many, few = (configuration(tmp_path, collection, static_model, select={"num_negatives": count}) for count in (4, 1))
    first = mine(many, progress=False)
    rows = len(first.dataset())
    partly = mine(few, until="select", progress=False)
    with pytest.raises(InputError, match="exported no dataset"):
        partly.dataset()
    with pytest.raises(InputError, match="wrote no report"):
        _ = partly.report
    second = mine(few, progress=False)
    assert len(second.dataset()) < rows == len(first.dataset())
    assert first.report["configuration"]["select"]["num_negatives"] == 4


def test_formats_with_one_folder_are_refused(tmp_path: Path) -> None:
    formats = ["tests.examples.ids:Ids", f"{HERE}:Ids"]
    with pytest.raises(ValidationError, match="two formats are written to the folder 'Ids'"):
        configuration(tmp_path, None, Path("m"), data={"beir": "folder"}, export={"formats": formats})


@pytest.mark.parametrize("fact", ["parts", "seconds", "fingerprint", "rows_in", "temporary"])
def test_a_fact_with_the_name_of_a_key_of_the_manifest_is_an_error(fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        Summary(1, 1, {}, facts={fact: 1})
