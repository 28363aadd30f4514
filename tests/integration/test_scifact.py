"""The real model on the real collection gives the figure that was published for the two."""

from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.run import evaluate


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_minilm_l6_v2_on_scifact_reaches_its_published_ndcg(scifact: Path, minilm: Path, tmp_path: Path) -> None:
    raw = {
        "run": str(tmp_path),
        "data": {"beir": str(scifact)},
        "encoder": {"model": str(minilm)},
        "engine": {"name": "local"},
    }
    evaluated = evaluate(Config.model_validate(raw), "test")
    assert evaluated["queries"] == 300
    assert evaluated["measures"]["ndcg@10"] == pytest.approx(0.645, abs=0.005)  # all-MiniLM-L6-v2 in the MTEB table
