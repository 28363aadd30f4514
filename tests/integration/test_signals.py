"""A signal, a filter and a draw of the user's own, each one class, in a run on every engine."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from operators.candidates.draw import Draw, Mask, Priority
from operators.candidates.filter import Filter
from operators.candidates.pairs import Pairs
from operators.candidates.signal import Signal
from operators.schemas import to_numpy
from tests.integration.conftest import Collection, configuration, dataset, run

HERE = "tests.integration.test_signals"


class Parity(Signal):
    """Whether the key of the document is odd."""

    gives = "odd"

    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        return (to_numpy(candidates, "doc_key") % 2).astype(np.float32)


class OfTheList(Parity):
    """A signal with the name of one that the model of false negatives reads."""

    gives = "list_similarity"


class Even(Filter):
    """Drops documents with an even key."""

    reason = "even"
    needs = ("odd",)

    def drops(self, pairs: Pairs) -> Mask:
        return np.asarray(pairs["odd"] == 0)


class Farthest(Draw):
    """The lowest scores first."""

    needs = ("score",)

    def priority(self, pairs: Pairs, free: Mask) -> Priority:
        return -pairs["score"].astype(np.float64)


OWN = {"filters": [f"{HERE}:Even"], "draws": [{"strategy": f"{HERE}:Farthest", "num_negatives": 3}]}


def test_own_classes_decide_what_is_selected(
    collection: Collection, static_model: Path, tmp_path: Path, engine: str
) -> None:
    sections = {"signals": [f"{HERE}:Parity", "score_gap"], "select": {**OWN, "range_max": 50}}
    config = configuration(tmp_path / "own", collection, static_model, **sections, engine={"name": engine})
    result = run(config)
    assert set(result["stages"]["search"]["sides"]) == {"all", "short", "signal_odd"}, (
        "a signal that nobody reads is left out"
    )

    plain = configuration(tmp_path / "plain", collection, static_model)
    run(plain)
    candidates = pq.read_table(list((tmp_path / "plain").glob("search/all/*/merged-50/*.parquet")))
    assert result["dropped"]["even"] > 0
    negatives = pq.read_table(list((tmp_path / "own").glob("select/*/negatives/*.parquet")))
    assert set(to_numpy(negatives, "doc_key") % 2) == {1}
    assert set(negatives["draw"].to_pylist()) == {f"{HERE}:Farthest"}
    odd = candidates.filter(
        pa.array((to_numpy(candidates, "doc_key") % 2 == 1) & (to_numpy(candidates, "positive_kind") == 0))
    )
    query = to_numpy(odd, "query_key")[0]
    scores = sorted(to_numpy(odd, "score")[to_numpy(odd, "query_key") == query])
    chosen = np.unique(to_numpy(negatives, "score")[to_numpy(negatives, "query_key") == query])
    assert chosen.tolist() == scores[:3]
    assert dataset(tmp_path / "own").num_rows == negatives.num_rows

    again = config.model_copy(update={"signals": config.signals[:1]})
    assert run(again)["stages"]["select"]["reused"], "only what is read decides"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"select": OWN}, "select reads the signal 'odd', which none of `signals` computes"),
        ({"signals": ["score_gap", "score_gap"]}, "two signals 'score_gap'"),
        ({"signals": ["tests.integration.test_signals:OfTheList"]}, "two signals 'list_similarity'"),
        ({"signals": ["scor_gap"]}, "Did you mean 'score_gap'"),
    ],
)
def test_signals_that_nobody_computes_are_refused_at_start(
    sections: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=said):
        configuration(tmp_path, None, Path("model"), **{"data": {"beir": "folder"}, **sections})
