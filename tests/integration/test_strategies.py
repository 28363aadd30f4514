"""Every draw, and a cap on documents, end to end: the same rows on every engine and after a kill."""

import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from operators.candidates import draws
from operators.errors import InputError
from operators.plugins import names_in
from pipelines.run import mine
from tests.integration.conftest import Collection, configuration, dataset, run, write_configuration

SECONDS_TO_WAIT = 60
MOST = 3
DRAWS: list[dict[str, Any]] = [
    {"strategy": "top", "num_negatives": 1},
    {"strategy": "random", "num_negatives": 1},
    {"strategy": "softmax", "temperature": 0.05, "num_negatives": 1},
    {"strategy": "simans", "a": 50.0, "num_negatives": 1},
    {"strategy": "semi_hard", "margin": 0.3, "num_negatives": 1},
    {"strategy": "distance_weighted", "num_negatives": 1},
    {"strategy": "stratified", "num_negatives": 2},
    {"strategy": "disagreement", "sources": ["search", "explicit"], "num_negatives": 1},
    {"strategy": "diverse", "num_negatives": 1},
]


def settings(data: dict[str, Any], **sections: Any) -> dict[str, Any]:  # noqa: ANN401
    """The collection with vectors in small partitions."""
    return {"data": {**data, "partition_rows": 32}, "encoder": {"similarity": "cosine"}, **sections}


def test_all_draws_in_one_selection_on_every_engine(with_vectors: dict[str, Any], tmp_path: Path, engine: str) -> None:
    assert {draw["strategy"] for draw in DRAWS} == set(names_in(draws))
    sections = settings(with_vectors, proposers=["explicit"], select={"draws": DRAWS, "max_rows_per_document": 20})
    for name in dict.fromkeys([engine, "local"]):
        mined = mine(configuration(tmp_path / name, None, None, **sections, engine={"name": name}), progress=False)
    assert dataset(tmp_path / engine).equals(dataset(tmp_path / "local"))
    rows = mined.output("select", "negatives").to_pylist()
    by_draw = Counter(row["draw"] for row in rows)
    assert set(by_draw) >= {draw["strategy"] for draw in DRAWS} - {"disagreement"}
    at_random = {"random", "softmax", "simans", "distance_weighted"}
    assert all((row["log_probability"] is not None) == (row["draw"] in at_random) for row in rows)
    assert all(-math.inf < row["log_probability"] <= 0 for row in rows if row["draw"] in at_random)
    assert max(Counter(row["doc_key"] for row in rows).values()) <= 20


def test_a_cap_holds_over_the_whole_set_on_every_engine(
    with_vectors: dict[str, Any], tmp_path: Path, engine_in_time: str
) -> None:
    select = {"num_negatives": 4, "max_rows_per_document": MOST}
    for name in dict.fromkeys([engine_in_time, "local"]):
        config = configuration(
            tmp_path / name, None, None, **settings(with_vectors, select=select, engine={"name": name})
        )
        mined = mine(config, progress=False)
    one_partition = {**settings(with_vectors, select=select), "data": {**with_vectors, "partition_rows": 10_000}}
    mine(configuration(tmp_path / "one", None, None, **one_partition), progress=False)
    columns = [("query_id", "ascending"), ("positive_id", "ascending"), ("negative_id", "ascending")]
    mined_rows = dataset(tmp_path / engine_in_time)
    assert mined_rows.equals(dataset(tmp_path / "local"))
    assert mined_rows.sort_by(columns).equals(dataset(tmp_path / "one").sort_by(columns))
    assert max(Counter(mined_rows["negative_id"].to_pylist()).values()) == MOST
    assert mined.dropped["max_rows_per_document"] > 0
    assert mined.report["matching_rounds"] > 1

    free = mine(configuration(tmp_path / "free", None, None, **settings(with_vectors)), progress=False)
    assert "matching_rounds" not in free.report
    assert max(Counter(dataset(tmp_path / "free")["negative_id"].to_pylist()).values()) > MOST


def test_a_run_killed_between_two_rounds_goes_on(with_vectors: dict[str, Any], tmp_path: Path) -> None:
    sections = settings(with_vectors, select={"num_negatives": 4, "max_rows_per_document": MOST})
    reference = run(configuration(tmp_path / "reference", None, None, **sections))
    config = configuration(tmp_path / "killed", None, None, **sections)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "mine", str(write_configuration(tmp_path, config))]
    )
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not list((tmp_path / "killed" / "select").glob("*/_units/cap-1")):
        assert process.poll() is None, "the run ended before the second round"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = run(config)
    assert finished["stages"]["search"]["reused"]
    assert dataset(tmp_path / "killed").equals(dataset(tmp_path / "reference"))
    assert finished["dropped"] == reference["dropped"]
    assert not list((tmp_path / "killed" / "select").glob("*/capped"))


@pytest.mark.parametrize("strategy", ["distance_weighted", "diverse"])
def test_a_draw_for_cosine_is_refused_for_a_dot_product(
    collection: Collection, static_model: Path, tmp_path: Path, strategy: str
) -> None:
    config = configuration(
        tmp_path / "run",
        collection,
        static_model,
        encoder={"similarity": "dot"},
        select={"sampling_strategy": strategy},
    )
    with pytest.raises(InputError, match=rf"{strategy}.*compares by dot\. Set encoder\.similarity: cosine"):
        mine(config, progress=False)
    assert not (tmp_path / "run").exists()
