"""What is drawn from the whole corpus: by its weights, from what a rule allows, whatever the order and the buckets."""

import json
from contextlib import suppress
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from operators.candidates.corpus_sampler import CorpusSampler
from operators.candidates.proposers.cross_domain import CrossDomain
from operators.candidates.proposers.metadata import Metadata
from operators.candidates.sampling import ENTRIES, SampleCorpus, entries_of, judgement_entries, weighted
from operators.errors import InputError
from operators.schemas import JUDGEMENTS, PROPOSALS, concat
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


@pytest.mark.parametrize("where", ["price != query.price", "price <= query.price"])
def test_how_documents_are_divided_changes_nothing_where_numbers_are_whole_and_broken(where: str) -> None:
    """A partition of whole numbers alone has integers, another one floats."""
    prices = [2, 3, 2.5, 2.0, -0.0, 0, 1e300, 2**62]
    documents = corpus([{"price": prices[n // 7 % 8], "other": n} for n in range(300)])
    asked = pa.concat_tables([queries(20, {"price": price}, seed) for seed, price in enumerate([2, 2.5, 0])])
    one = sampler(proposer="metadata", where=where, limit=5)

    def drawn(rows: int) -> pa.Table:
        entries = [entries_of(one, documents.slice(at, rows)) for at in range(0, 300, rows)]
        sample = SampleCorpus(one, *([part] for part in weighted(one, concat(entries, ENTRIES))))
        return concat([sample(asked.slice(at, rows)) for at in range(0, 60, rows)], PROPOSALS)

    whole = drawn(300)
    assert whole.num_rows == 300
    assert all(drawn(rows).equals(whole) for rows in (64, 7, 3, 1))


NUMBERS = ["2", "2.0", "-3", "2.5", "1e400", "0xff", "--1", "9007199254740993", "-9223372036854775808"]
ODD = ["None", "1j", "b'a'", "[1]", "query", "x.y.z", "'\\ud800'", "'\\0'", "99999999999999999999", "-" * 60 + "1"]
CONSTANTS = {
    "number": st.sampled_from(NUMBERS) | st.integers(-(2**64), 2**64).map(str) | st.floats(allow_nan=False).map(repr),
    "text": st.sampled_from(["'a'", "'b'", "''"]) | st.text(max_size=3).map(repr),
    "odd": st.sampled_from([*ODD, "True"]),
}
NAMES = ["price", "domain", "flag", "nothing", "document['a b']", "query.price", "query['domain']", "query.nothing"]
SIDES = st.sampled_from(NAMES) | st.sampled_from(["number", "number", "number", "text", "text", "odd"]).flatmap(
    lambda kind: CONSTANTS[kind]
)
LISTS = st.one_of(*(st.lists(CONSTANTS[kind], min_size=1, max_size=3) for kind in ("number", "text")))
COMPARED = st.one_of(
    st.tuples(SIDES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), SIDES).map("".join),
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(["in", "not in"]), LISTS.map(lambda one: f"[{', '.join(one)}]")
    ).map(" ".join),
)
TEXTS = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda one: f"({' '.join(one)})"),
        st.tuples(st.sampled_from([1, 2, 40, 60, 450]), inner).map(lambda one: "not " * one[0] + f"({one[1]})"),
        st.tuples(st.sampled_from([2, 30, 100]), inner).map(lambda one: " and ".join([one[1]] * one[0])),
        st.tuples(inner, st.sampled_from([" # rest", ")", " <", " is 1"])).map("".join),
    ),
    max_leaves=4,
)
METADATA: list[dict[str, Any]] = [{"price": 2, "domain": "a", "flag": True}, {"price": 2.5, "a b": 2**63}, {}]


@hypothesis.settings(derandomize=True, deadline=None, max_examples=200)
@hypothesis.given(where=TEXTS, source=st.sampled_from([Metadata, CrossDomain]))
def test_a_rule_is_refused_at_the_start_or_evaluated(where: str, source: type[CorpusSampler]) -> None:
    """Whatever a rule says, nothing but a `ValueError` meets the user, and of text that is no rule before any work."""
    given = {"proposer": "any", "limit": 2}
    assert source.model_validate({**given, "where": "price < 2"})
    try:
        one = source.model_validate({**given, "where": where})
    except ValidationError:
        return
    with suppress(InputError):  # values of different kinds
        opened(one, corpus(METADATA))(queries(3, METADATA[0]))


@pytest.mark.parametrize(
    "more", [{"domains": [f"domain-{n}" for n in range(200)]}, {"where": "clicks < 3 # few"}, {"field": "it's"}]
)
def test_other_domains_may_be_many_and_their_rule_may_end_in_a_comment(more: dict[str, Any]) -> None:
    field = more.get("field", "domain")
    one = sampler(proposer="cross_domain", **more)
    rows = [{field: f"domain-{n}", "clicks": 1} for n in range(3)]
    assert opened(one, corpus(rows))(queries(4, {field: "domain-0"})).num_rows == 8


@hypothesis.settings(deadline=None, max_examples=10)
@hypothesis.given(
    seed=st.integers(-(2**63), 2**63 - 1),
    sources=st.lists(st.from_regex("[a-z]{1,9}", fullmatch=True), min_size=2, max_size=2, unique=True),
)
def test_two_sources_of_one_seed_share_as_many_documents_as_by_chance(seed: int, sources: list[str]) -> None:
    documents, limit, rows = 200, 20, 300
    drawn = []
    for source in sources:
        one = sampler(proposer="uniform", source=source, seed=seed, limit=limit)
        table = opened(one, corpus([{}] * documents))(queries(rows))
        drawn.append(set(zip(table["query_key"].to_pylist(), table["doc_key"].to_pylist(), strict=True)))
    shared = stats.hypergeom(documents, limit, limit)  # of one query
    assert abs(len(drawn[0] & drawn[1]) - rows * shared.mean()) < 6 * np.sqrt(rows * shared.var())


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


def test_domains_may_be_numbers() -> None:
    documents = corpus([{"domain": number} for number in (1, 2, 2.5, 3)], np.arange(4))
    sample = opened(sampler(proposer="cross_domain", domains=[1, 2, 2.5]), documents)
    assert set(sample(queries(5, {"domain": 1}))["doc_key"].to_pylist()) == {1, 2}


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
            r"^proposers.custom: the weights made of the metadata 'w' add up",
        ),
        ({"proposer": "custom", "by": "w"}, [{"w": -1}], "gives the weight -1"),
        ({"proposer": "custom", "by": "w"}, [{"w": "x"}], r"proposers\.custom: the metadata 'w' is text"),
        ({"proposer": "frequency", "by": "w"}, [{"w": -4}], "0 or more"),
    ],
)
@pytest.mark.parametrize("buckets", [1, 3])
def test_wrong_weights_are_refused(
    settings: dict[str, Any], rows: list[dict[str, Any]], said: str, buckets: int
) -> None:
    with pytest.raises(InputError, match=said):
        opened(sampler(**settings), corpus(rows), buckets)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"proposer": "custom"}, "by: this key is missing"),
        ({"proposer": "metadata"}, "where: this key is missing"),
        ({"proposer": "metadata", "where": "year <"}, "is no rule"),
        ({"proposer": "uniform", "where": "open('x') == 1"}, "neither a field"),
        ({"proposer": "cross_domain", "domains": [1, "a"]}, "domains"),
        ({"proposer": "cross_domain", "domains": [True]}, "domains"),
        ({"proposer": "frequency", "alpha": -1}, "alpha: a number of at least 0 is wanted"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        sampler(**settings)
