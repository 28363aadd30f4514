"""What is drawn from the whole corpus: by its weights, from what a rule allows, whatever the order and the buckets."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy import stats

from operators.candidates.corpus_sampler import CorpusSampler
from operators.candidates.sampling import ENTRIES, SampleCorpus, entries_of, judgement_entries, weighted
from operators.errors import InputError
from operators.schemas import JUDGEMENTS, concat
from pipelines.text.config import Config

Ints = npt.NDArray[np.int64]
SURE = 0.999


def sampler(**settings: Any) -> CorpusSampler:  # noqa: ANN401
    config = Config.model_validate(
        {"run": "r", "data": {"beir": "b"}, "encoder": {"model": "m"}, "proposers": [settings]}
    )
    (one,) = config.proposers
    assert isinstance(one, CorpusSampler)
    return one


def corpus(rows: list[dict[str, Any]], keys: Ints | None = None) -> pa.Table:
    keys = np.arange(len(rows)) * 101 + 7 if keys is None else keys
    return pa.table({"doc_key": keys, "metadata": [json.dumps(row) if row else None for row in rows]})


def opened(
    one: CorpusSampler, documents: pa.Table, buckets: int = 1, judgements: pa.Table | None = None
) -> SampleCorpus:
    entries = [entries_of(one, documents)] + ([] if judgements is None else [judgement_entries(judgements)])
    together = concat(entries, ENTRIES)
    bucket = np.asarray(together.column("doc_key")) % buckets
    parts = [weighted(one, together.filter(pa.array(bucket == number))) for number in range(buckets)]
    return SampleCorpus(one, [part[0] for part in parts], [part[1] for part in parts])


def queries(count: int, metadata: dict[str, Any] | None = None, seed: int = 0) -> pa.Table:
    keys = np.random.default_rng(seed).integers(1 << 62, size=count)
    return pa.table({"query_key": keys, "metadata": pa.array([json.dumps(metadata or {})] * count)})


def first_drawn(sample: SampleCorpus, asked: pa.Table) -> Ints:
    table = sample(asked)
    return np.asarray(np.asarray(table.column("doc_key"))[np.asarray(table.column("rank")) == 0])


WEIGHTED: list[tuple[dict[str, Any], list[float]]] = [
    ({"proposer": "uniform"}, [1, 1, 1, 1, 1, 1]),
    ({"proposer": "frequency", "by": "clicks"}, [n**0.75 for n in (1, 16, 0, 81, 0, 2)]),
    ({"proposer": "frequency", "by": "clicks", "alpha": 0}, [1, 1, 0, 1, 0, 1]),
    ({"proposer": "custom", "by": "clicks"}, [1, 16, 0, 81, 0, 2]),
    ({"proposer": "metadata", "where": "clicks > 1"}, [0, 1, 0, 1, 0, 1]),
    ({"proposer": "uniform", "where": "kind == 'b'"}, [0, 0, 0, 0, 1, 1]),
]
ROWS: list[dict[str, Any]] = [
    {"clicks": 1, "kind": "a"},
    {"clicks": 16, "kind": "a"},
    {"clicks": 0, "kind": "a"},
    {"clicks": 81, "kind": "c"},
    {"kind": "b"},
    {"clicks": 2, "kind": "b"},
]


@pytest.mark.parametrize(("settings", "weights"), WEIGHTED)
@pytest.mark.parametrize("buckets", [1, 3])
def test_documents_are_drawn_in_proportion_to_their_weight(
    settings: dict[str, Any], weights: list[float], buckets: int
) -> None:
    rows, documents = 30_000, corpus(ROWS)
    sample = opened(sampler(**settings, limit=1), documents, buckets)
    drawn = first_drawn(sample, queries(rows))
    times = np.array([(drawn == key).sum() for key in documents.column("doc_key").to_pylist()])
    weight = np.array(weights)
    expected = rows * weight / weight.sum()
    assert times[weight == 0].sum() == 0
    some = expected > 0
    assert ((times[some] - expected[some]) ** 2 / expected[some]).sum() < stats.chi2.ppf(SURE, max(some.sum() - 1, 1))


def test_two_are_drawn_one_after_the_other_without_repetition() -> None:
    rows, weight = 30_000, np.array([1.0, 2.0, 5.0])
    one = sampler(proposer="custom", by="w", limit=2)
    table = opened(one, corpus([{"w": value} for value in weight], np.arange(3)))(queries(rows))
    pairs = np.asarray(table.column("doc_key")).reshape(rows, 2)
    share = weight / weight.sum()
    wanted = [(i, j) for i in range(3) for j in range(3) if i != j]
    expected = rows * np.array([share[i] * share[j] / (1 - share[i]) for i, j in wanted])
    times = np.array([((pairs[:, 0] == i) & (pairs[:, 1] == j)).sum() for i, j in wanted])
    assert times.sum() == rows
    assert ((times - expected) ** 2 / expected).sum() < stats.chi2.ppf(SURE, len(wanted) - 1)


def test_a_frequency_may_be_that_in_the_judgements() -> None:
    counts = [4, 0, 1, 2]
    documents = corpus([{}] * 4, np.arange(4))
    rows = [(n, doc, 1.0) for doc, count in enumerate(counts) for n in range(count)] + [(9, 1, 0.0), (9, 77, 1.0)]
    judgements = pa.Table.from_pylist(
        [{"query_key": q, "doc_key": d, "text_key": d, "relevance": r, "label": None} for q, d, r in rows], JUDGEMENTS
    )
    one = sampler(proposer="frequency", alpha=1.0, limit=1)
    drawn = first_drawn(opened(one, documents, 2, judgements), queries(20_000))
    expected = 20_000 * np.array(counts) / 7
    times = np.bincount(drawn, minlength=4)
    assert times[1] == 0
    kept = expected > 0
    assert ((times[kept] - expected[kept]) ** 2 / expected[kept]).sum() < stats.chi2.ppf(SURE, 2)


def test_neither_order_nor_buckets_nor_other_queries_change_what_is_drawn() -> None:
    rng = np.random.default_rng(3)
    rows = [{"domain": "abc"[n % 3], "clicks": int(rng.integers(0, 9))} for n in range(500)]
    keys = rng.integers(1 << 62, size=500)
    asked = pa.concat_tables([queries(40, {"domain": name}, seed) for seed, name in enumerate(["a", "b", "d"])])
    one = sampler(proposer="frequency", by="clicks", where="domain != query.domain", limit=7)
    whole = opened(one, corpus(rows, keys))(asked)
    order = rng.permutation(500)
    again = opened(one, corpus([rows[i] for i in order], keys[order]), 1)(asked)
    assert again.equals(whole)
    some = pa.array([3, 110, 50])
    expected = {key: whole.filter(pa.compute.equal(whole["query_key"], key)) for key in asked.take(some)["query_key"]}
    fewer = opened(one, corpus(rows, keys))(asked.take(some))
    assert fewer.equals(pa.concat_tables(list(expected.values())))
    assert len(set(whole["rank"].to_pylist())) == 7
    other = opened(sampler(**{**one.model_dump(), "seed": 1}), corpus(rows, keys))(asked)
    assert not other.equals(whole)


def test_a_query_draws_from_other_domains_alone() -> None:
    rows = [{"domain": "abc"[n % 3]} for n in range(30)] + [{}]
    documents = corpus(rows)
    domain = {key: row.get("domain") for key, row in zip(documents["doc_key"].to_pylist(), rows, strict=True)}
    for settings, allowed in (
        ({"proposer": "cross_domain"}, {"b", "c"}),
        ({"proposer": "cross_domain", "domains": ["c", "a"]}, {"c"}),
        ({"proposer": "metadata", "where": "domain != query.domain"}, {"b", "c"}),
    ):
        sample = opened(sampler(**settings, limit=100), documents, 2)
        drawn = sample(queries(5, {"domain": "a"}))["doc_key"].to_pylist()
        assert {domain[key] for key in drawn} == allowed
        assert len(drawn) == 5 * 10 * len(allowed), "all there are, each once"
        assert sample(queries(5)).num_rows == 0, "a query without a domain has no other"


def test_a_corpus_smaller_than_the_limit_is_drawn_whole() -> None:
    table = opened(sampler(proposer="uniform", limit=100), corpus([{}] * 12))(queries(30))
    assert table.num_rows == 30 * 12
    assert len(set(zip(table["query_key"].to_pylist(), table["doc_key"].to_pylist(), strict=True))) == 30 * 12
    assert opened(sampler(proposer="uniform"), corpus([]))(queries(3)).num_rows == 0
    assert opened(sampler(proposer="uniform"), corpus([{}] * 12))(queries(0)).num_rows == 0


@pytest.mark.parametrize(
    ("settings", "rows", "said"),
    [
        (
            {"proposer": "custom", "by": "w"},
            [{"w": 1e308}] * 3,
            r"^proposers: custom: the weights made of the metadata 'w' add up",
        ),
        ({"proposer": "custom", "by": "w"}, [{"w": -1}], "gives the weight -1"),
        ({"proposer": "custom", "by": "w"}, [{"w": "x"}], "is no number"),
        ({"proposer": "frequency", "by": "w"}, [{"w": -4}], "0 or more"),
    ],
)
@pytest.mark.parametrize("buckets", [1, 3])
def test_wrong_weights_are_refused(
    settings: dict[str, Any], rows: list[dict[str, Any]], said: str, buckets: int
) -> None:
    with pytest.raises(InputError, match=said):
        opened(sampler(**settings), corpus(rows), buckets)


def test_weights_that_add_up_to_less_than_the_largest_number_are_drawn() -> None:
    sample = opened(sampler(proposer="custom", by="w", limit=1), corpus([{"w": 5e307}] * 3), 3)
    times = np.unique(first_drawn(sample, queries(3_000)), return_counts=True)[1]
    assert len(times) == 3
    assert stats.chisquare(times).pvalue > 1 - SURE


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"proposer": "custom"}, "by: Field required"),
        ({"proposer": "metadata"}, "where: Field required"),
        ({"proposer": "metadata", "where": "year <"}, "is no rule"),
        ({"proposer": "uniform", "where": "open('x') == 1"}, "neither a field"),
        ({"proposer": "frequency", "alpha": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        sampler(**settings)
