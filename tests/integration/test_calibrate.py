"""The false-negative model on real text: views, calibration, and selection by it, on every engine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators.candidates.false_negatives.list_similarity import LISTS
from operators.errors import InputError
from operators.keys import keys_of
from operators.schemas import POSITIVE_DOCUMENT, to_numpy
from operators.segments import starts_of
from pipelines.run import mine
from pipelines.runtime.progress import Progress
from pipelines.runtime.session import session
from pipelines.text.calibration import CalibratedConfig, run_calibration
from pipelines.text.config import Config
from pipelines.text.stages.calibrate.views import VIEWS
from tests.integration.conftest import Collection, configuration, dataset, run, write_collection, write_configuration

PROBABILITY = "false_negative_probability"


def views_of(config: Config) -> tuple[pa.Table, pa.Table]:
    """The views of a run in one partition, and what they show."""
    of_views = CalibratedConfig(**{name: getattr(config, name) for name in Config.model_fields})
    with session(of_views) as at_work:
        stage = at_work.pipeline.run(VIEWS, at_work.engine, Progress(), recorded=False).completed[VIEWS]
    tables = [
        pa.concat_tables([stage.folder.read_table(part) for part in stage.parts(kind)]) for kind in ("views", "shown")
    ]
    return tables[0], tables[1]


def test_a_view_is_what_a_search_without_that_judgement_finds(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    """Remove one positive of each query that has several, mine, and compare with the views that hide these."""
    removed = {query: next(iter(judged)) for query, judged in collection.judgements.items() if sum(judged.values()) > 1}
    fewer = {
        query: {document: grade for document, grade in judged.items() if document != removed.get(query)}
        for query, judged in collection.judgements.items()
    }
    left = write_collection(tmp_path / "left", collection.documents, collection.queries, fewer)
    one_part = {"partition_rows": 1000}
    views, shown = views_of(configuration(tmp_path / "run", collection, static_model, data=one_part))
    mined = mine(
        configuration(tmp_path / "left-run", left, static_model, data=one_part), until="search", progress=False
    )
    found = mined.output("search/all", "candidates")
    key = dict(zip(collection.documents, keys_of(pa.array(list(collection.documents))).tolist(), strict=True))
    query_key = dict(zip(collection.queries, keys_of(pa.array(list(collection.queries))).tolist(), strict=True))
    origin = to_numpy(shown, "origin")[starts_of(to_numpy(shown, "query_key"))]
    compared = 0
    for query, document in removed.items():
        numbers = np.flatnonzero(origin == query_key[query])
        for number in numbers:
            of_view = views.filter(pa.array(to_numpy(views, "query_key") == number))
            hidden = of_view.filter(of_view.column("hidden")).column("doc_key").to_pylist()
            known = set(shown.filter(pa.array(to_numpy(shown, "query_key") == number)).column("doc_key").to_pylist())
            if key[document] in known:
                continue  # it hides another one
            alone = found.filter(pa.array(to_numpy(found, "query_key") == query_key[query]))
            alone = alone.filter(pa.array(to_numpy(alone, "positive_kind") != POSITIVE_DOCUMENT))
            names = ["doc_key", "score", "rank", "max_positive_similarity", "mean_positive_similarity"]
            one, other = ({row["doc_key"]: row for row in t.select(names).to_pylist()} for t in (of_view, alone))
            # The search of the view asked for as many that are not judged, of which the hidden one is none.
            assert len(set(one) ^ set(other)) <= 1
            for same in set(one) & set(other):
                assert [one[same][name] for name in names] == pytest.approx([other[same][name] for name in names])
            assert set(hidden) <= {key[document]}
            compared += 1
    assert compared > 100


def test_candidates_are_compared_with_the_first_documents_that_search_found(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    proposers = [{"proposer": "uniform", "limit": 5}]
    sections: dict[str, Any] = {"select": {"max_false_negative_probability": 0.5}, "proposers": proposers}
    mined = mine(configuration(tmp_path / "run", collection, static_model, **sections), progress=False)
    documents = mined.output("encode", "documents", ["key", "vector"])
    vector = dict(zip(documents.column("key").to_pylist(), documents.column("vector").to_pylist(), strict=True))
    signals, found = mined.output("search/signal_list_similarity", "signals"), mined.output("search/all", "candidates")
    first: dict[int, dict[int, int]] = {}
    for row in found.select(["query_key", "rank", "doc_key"]).to_pylist():
        first.setdefault(row["query_key"], {})[row["rank"]] = row["doc_key"]
    some = signals.to_pylist()[::37]
    assert len(some) > 100
    for name, depth in LISTS.items():
        for row in some:
            ranked = first[row["query_key"]]
            listed = np.array([vector[document] for rank, document in ranked.items() if rank < depth], np.float64)
            assert row[name] == pytest.approx((listed @ np.array(vector[row["doc_key"]], np.float64)).mean(), abs=1e-4)
    assert signals.num_rows > found.num_rows  # those of the proposer, too


def test_every_engine_gives_the_same_views_and_selects_the_same_by_the_model(
    collection: Collection, static_model: Path, tmp_path: Path, engine: str
) -> None:
    sections: dict[str, Any] = {"select": {"target_false_negative_rate": 0.02, "range_max": 50}}
    reference = configuration(tmp_path / "reference", collection, static_model, **sections)
    other = configuration(tmp_path / "other", collection, static_model, engine={"name": engine}, **sections)
    run(reference)
    run(other)
    assert dataset(tmp_path / "reference").equals(dataset(tmp_path / "other"))
    assert views_of(reference)[0].equals(views_of(other)[0])


def test_a_target_redoes_only_select_and_is_met(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    def selected(**select: Any) -> tuple[set[str], pa.Table, dict[str, Any]]:  # noqa: ANN401
        config = configuration(tmp_path / "run", collection, static_model, select=select)
        mined = mine(config, progress=False)
        done = {name for name, facts in mined.stages.items() if not facts["reused"]}
        return done, mined.output("select", "negatives"), dict(mined.report["stages"]["select"])

    selected(max_false_negative_probability=0.5)
    for target in (0.001, 0.01):
        done, negatives, _ = selected(target_false_negative_rate=target)
        assert done == {"select", "suspects", "export"}
        probability = to_numpy(negatives, PROBABILITY)
        assert 0.3 * target < probability.mean() <= 1.02 * target
    done, negatives, _ = selected(max_false_negative_probability=0.004)
    assert done == {"select", "suspects", "export"}
    assert to_numpy(negatives, PROBABILITY).max() <= np.float32(0.004)


def test_calibrate_writes_a_model_that_mine_uses(collection: Collection, static_model: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path / "run", collection, static_model)
    path = write_configuration(tmp_path, config)
    command = [sys.executable, "-m", "pipelines.cli", "calibrate", str(path), "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads(printed.splitlines()[-1])
    assert result["how"] in {"fitted", "intercept"}
    assert {point["rule"] for point in result["frontier"]} >= {"none", "model", "positive similarity"}
    assert (tmp_path / "run" / "calibration" / "frontier.svg").read_text().startswith("<svg")
    own = {"model": result["model"], "unjudged_share": 0.2}
    mined = mine(configuration(tmp_path / "run", collection, static_model, false_negatives=own), progress=False)
    probability = to_numpy(mined.output("select", "negatives"), PROBABILITY)
    assert np.isfinite(probability).all()
    assert 0 < probability.mean() < 1
    whole = subprocess.run(
        [*command[:-3], "verify", str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert whole.returncode == 0, whole.stdout


def test_where_every_query_has_one_positive_it_says_what_to_do(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    single = {query: {next(iter(judged)): 1} for query, judged in collection.judgements.items()}
    data = write_collection(tmp_path / "single", collection.documents, collection.queries, single)
    with pytest.raises(InputError, match="no query has two positives"):
        run_calibration(configuration(tmp_path / "run", data, static_model))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"model": "nowhere.json"}, "there is no file 'nowhere.json'"),
        ({"unjudged_share": 1.0}, "less than 1"),
        ({"model": "README.md"}, "cannot be read"),
    ],
)
def test_a_model_that_is_none_is_refused(
    section: dict[str, Any], message: str, collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        configuration(tmp_path / "run", collection, static_model, false_negatives=section)


def test_a_model_of_cosines_is_refused_for_vectors_that_are_compared_otherwise(
    collection: Collection, static_model: Path, tmp_path: Path
) -> None:
    dot: dict[str, Any] = {"encoder": {"similarity": "dot"}, "search": {"k": 450}}
    with pytest.raises(InputError, match="fitted on cosine similarities, and this model compares by dot"):
        run(
            configuration(
                tmp_path / "run", collection, static_model, select={"max_false_negative_probability": 0.1}, **dot
            )
        )
    own = run_calibration(configuration(tmp_path / "run", collection, static_model, **dot))
    select = {"max_false_negative_probability": 0.1}
    mined = mine(
        configuration(
            tmp_path / "run",
            collection,
            static_model,
            select=select,
            false_negatives={"model": own["model"]},
            **dot,
        ),
        progress=False,
    )
    assert to_numpy(mined.output("select", "negatives"), PROBABILITY).max() <= np.float32(0.1)
