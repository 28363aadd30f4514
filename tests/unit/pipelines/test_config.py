"""Any text is a configuration or is refused in one line; what is taken survives being written and read again."""

import math
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from operators.errors import InputError
from pipelines.config import load
from pipelines.runtime.config import EngineConfig, resolved
from pipelines.text.config import Config

READY = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
TEXT = [ready for ready in READY if "pipeline" not in yaml.safe_load(ready.read_text(encoding="utf-8"))]
GOOD = "run: somewhere\ndata: {beir: folder}\nencoder: {model: some/model}\n"
any_test = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Config]:
    """Load a text, or bytes, as a configuration file."""

    def load_content(content: str | bytes, *settings_on_top: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        config = load(str(path), list(settings_on_top))
        assert isinstance(config, Config)
        return config

    return load_content


def check(attempt: Callable[[], Config]) -> Config | None:
    """Load; return the configuration after it went through YAML once more, or None where it is refused in one line."""
    try:
        config = attempt()
    except InputError as refused:
        message = str(refused)
        assert message
        assert len(message) <= 400
        assert message.isprintable()
        return None
    assert all(math.isfinite(number) for number in numbers_in(resolved(config)))
    return config


def numbers_in(value: Any) -> list[float]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list | tuple):
        return [number for inner in value for number in numbers_in(inner)]
    return [value] if isinstance(value, int | float) else []


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**63 - 1, -(2**63) - 1, 10**30, 10**400, -1, 0]),
    st.floats(),
    st.text(max_size=12),
    st.text(st.characters(exclude_categories=()), max_size=4),
    st.sampled_from(
        ["", " ", ".", "~", "auto", "exact", "nan", "1e400", "\x00", "a" * 5000, "٣", "1_0", "4GiB", "1e999GiB"]
    ),
    st.sampled_from(
        ["a:b::c", "s3:/x", "nowhere://x", "http://x/y", "PQ8x0", "IVF0,Flat", "IVF4,SQ8", "2024-02-30", "yes"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(string.ascii_lowercase, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def keys_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All keys of the configuration, as paths."""
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        found.append((*above, name))
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += keys_of(inner, (*above, name))
    return found


KEYS = keys_of(Config)


def put(raw: dict[str, Any], key: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 - YAML
    for name in key[:-1]:
        inner = raw.get(name)
        raw[name] = inner if isinstance(inner, dict) else {}
        raw = raw[name]
    raw[key[-1]] = value


def written(raw: Any) -> str:  # noqa: ANN401 - YAML
    return yaml.safe_dump(raw, allow_unicode=True)


@any_test
@given(ready=st.sampled_from(TEXT), changes=st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=3))
def test_any_value_under_any_key_is_taken_or_refused_in_one_line(
    read: Callable[..., Config], ready: Path, changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    raw = yaml.safe_load(ready.read_text(encoding="utf-8"))
    for key, value in changes:
        put(raw, key, value)
    config = check(lambda: read(written(raw)))
    if config is not None:
        assert resolved(read(written(dict(resolved(config))))) == resolved(config)


@any_test
@given(ready=st.sampled_from(TEXT), data=st.data())
def test_any_change_of_characters_is_taken_or_refused_in_one_line(
    read: Callable[..., Config], ready: Path, data: st.DataObject
) -> None:
    text = ready.read_bytes()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        inserted = data.draw(
            st.one_of(
                st.sampled_from(
                    [b"\t", b"\n", b"---\n", b"&a ", b"*a", b"!!binary ", b"!x ", b"[", b"{", b"'", b"\x00", b"? "]
                ),
                st.binary(max_size=3),
            )
        )
        text = text[:at] + inserted + text[at + data.draw(st.integers(0, 6)) :]
    config = check(lambda: read(text))
    if config is not None:
        assert resolved(read(written(dict(resolved(config))))) == resolved(config)


@any_test
@given(key=st.sampled_from(KEYS), value=values)
def test_any_setting_is_taken_or_refused_in_one_line(
    read: Callable[..., Config],
    key: tuple[str, ...],
    value: Any,  # noqa: ANN401 - YAML
) -> None:
    check(lambda: read(GOOD, f"{'.'.join(key)}={yaml.safe_dump(value, default_flow_style=True)}"))


@pytest.mark.parametrize("ready", READY, ids=lambda path: path.stem)
def test_the_ready_files_are_taken_and_survive(ready: Path, tmp_path: Path) -> None:
    config = load(str(ready))
    again = tmp_path / "again.yaml"
    again.write_text(written(dict(resolved(config))), encoding="utf-8")
    assert resolved(load(str(again))) == resolved(config)


FLOATS = [key for key in KEYS if key[-1] in {"max_score", "min_score", "recall_target", "encoder_gpus", "search_gpus"}]
FLOATS += [("select", name) for name in ("max_positive_resemblance", "max_positive_similarity")]
FLOATS += [("select", name) for name in ("absolute_margin", "relative_margin")]


@pytest.mark.parametrize("key", FLOATS, ids=".".join)
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "nan", "1e400", "true"])
def test_a_number_that_is_not_finite_is_refused_by_its_key(
    read: Callable[..., Config], key: tuple[str, ...], value: str
) -> None:
    with pytest.raises(InputError, match=rf"--set {'.'.join(key)}: "):
        read(GOOD, f"{'.'.join(key)}={value}")


# Seven lines that stand for some four million values.
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD + "run: elsewhere\n", r"config\.yaml, line 4: not YAML: the key 'run' stands here again, after line 1\."),
        (GOOD + "select: {seed: 1, seed: 2}\n", r"line 4: .* the key 'seed' stands here again"),
        ('run: ""\ndata: {beir: x}\nencoder: {model: x}', r"config\.yaml: run: .*blank\. It is ''\."),
        ('run: " "\ndata: {beir: x}\nencoder: {model: x}', r"config\.yaml: run: .*blank"),
        ("run: a:b::c\ndata: {beir: x}\nencoder: {model: x}", r"run: a run directory is a folder "),
        ("run: nowhere://x\ndata: {beir: x}\nencoder: {model: x}", r"run: no storage is known as 'nowhere'"),
        (f"run: {'x' * 300}\ndata: {{beir: x}}\nencoder: {{model: x}}", r"run: the path is too long"),
        (GOOD + "---\n" + GOOD, r"line 4: not YAML: but found another document"),
        (GOOD + "select: {seed: " + "9" * 5000 + "}", r"line 4: not YAML: a number of 5,000 digits"),
        (GOOD + "select: {seed: 9223372036854775808}", r"select\.seed: the number does not fit into 64 bits"),
        ("[" * 10_000, r"line 1: not YAML: more than 32 levels"),
        (BOMB, r"more than 20,000 values, aliases included"),
        ("1: x\n", r"line 1: not YAML: a key that is no text"),
        ("run: !!python/object/apply:os.getcwd []\n", r"line 1: not YAML: a tag that is not read here"),
        ("", "a mapping of keys is wanted"),
        ("\trun: x", r"line 1: not YAML: found character"),
        (b"run: \xff\xfe", r"config\.yaml: not YAML: invalid start byte"),
        (GOOD + "engine: {encoder_workers: 0}", r"'auto' or a number of at least 1 is wanted\. It is 0\."),
        (GOOD + "engine: {workers: some}", r"engine\.workers: 'auto' or an integer is wanted\. It is 'some'\."),
        (GOOD + "engine: {search_gpus: -1}", r"engine\.search_gpus: a number of at least 0 is wanted\. It is -1\."),
        (GOOD + "engine: {workers: true}", r"engine\.workers: true and false are no value for this key"),
        (GOOD + "engine: {encoder_resources: {x: .nan}}", r"engine\.encoder_resources\.x: .*finite"),
        (GOOD + "search: {k: [5]}", r"search\.k: .*integer.* It is \[5\]\."),
        (GOOD + "clean: {drop_empty: 1}", r"clean\.drop_empty: true or false is wanted\. It is 1\."),
        (GOOD + "engine: {memory_budget: 1e400GiB}", r"engine\.memory_budget: a size is wanted"),
        (GOOD + "index: PQ8x0", r"index: 'PQ8x0' is no factory string"),
        (GOOD + "search: 5\nselect: 6\nclean: 7\nexport: 8\nindex: [9]\nengine: 10\n", r"\d more keys are wrong\.$"),
        (GOOD + f"select: {{{'x' * 900}: 1}}", r"there is no such key"),
        (GOOD + "select: {draws: [{strategy: top, num_negative: 2}]}",
         r"select\.draws\.0: top: num_negative: there is no such key\. Did you mean 'num_negatives'\? The keys here"),
        (GOOD + "select: {filters: [{filter: max_rank, limt: 2}]}", r"limt: .*no such key\. Did you mean 'limit'\?"),
        (GOOD + "signals: [{signal: score_gap, sinal: 1}]", r"signals\.0: score_gap: .* Did you mean 'signal'\?"),
        (GOOD + "proposers: [{proposer: lexical, tokenizer: {stopword: english}}]",
         r"proposers\.0: lexical: tokenizer\.stopword: there is no such key\. Did you mean 'stopwords'\? .* stemmer"),
        (GOOD + "proposers: [{proposer: lexical, tokenizer: {stopwords: german}}]",
         r"lexical: tokenizer\.stopwords: 'english' or a list is wanted\. It is 'german'\."),
        (GOOD + "contamination: {sets: {held.out: {quries: q.jsonl}}}",
         r"contamination\.sets\.held\.out\.quries: there is no such key\. Did you mean 'queries'\? .* drop_documents"),
        (GOOD + "contamination: {sets: {a: q.jsonl}}",
         r"contamination\.sets\.a: a mapping of keys is wanted: .* queries"),
        (GOOD + "contamination: {sets: {}}", r"contamination\.sets: it is empty: at least one entry is wanted\.$"),
        (GOOD + "proposers: [metadata]", r"proposers\.0: metadata: where: this key is missing\.$"),
        (GOOD + "proposers: [bm25]", r"proposers\.0: there is no proposer 'bm25'\. .* as `module:name`\.$"),
        (GOOD + "export: {formats: [tripplet]}", r"there is no format 'tripplet'\. .* labeled-list, labeled-pair"),
        (GOOD + "select: {draws: [{strategy: disagreement, sources: [search, bm25]}]}",
         r"no proposer has the source 'bm25'; the sources are search\.$"),
        (GOOD + "select: {draws: [{strategy: disagreement, sources: [search]}]}",
         r"select\.draws\.0: disagreement: sources: two different ones"),
        (GOOD + "proposers: [{proposer: metadata, where: 'year = 2010'}]",
         r"where: 'year = 2010' is no rule .*: compare by ==, .* join by and, or, not\.$"),
        (GOOD + "signals: ['operators.errors:Shown']",
         r"the module operators\.errors defines no 'Shown'\. Did you mean 'shown'\?"),
        (GOOD + "signals: ['operators.errors:shown']", r"a class that derives from .*Signal is wanted, .* a function"),
        (GOOD + "signals: ['nowhere:Own']", r"cannot be imported .* PYTHONPATH\.$"),
        (GOOD + "signals: ['tests.unit.pipelines.raises:Own']", r"install or correct what it imports\.$"),
        (GOOD + f"encoder: [{'1, ' * 15_000}1]", r"key 'encoder' stands here again"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(read: Callable[..., Config], content: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read(content)
    assert len(str(refused.value)) <= 400
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_text_with_a_mark_of_its_encoding_is_read(read: Callable[..., Config], encoding: str) -> None:
    assert read(GOOD.replace("somewhere", "überall").encode(encoding)).run == "überall"


@pytest.mark.parametrize("run", [".", "s3://bucket/run", "a:b", "runs/a b", "~", "file:///tmp/x", "gs://bucket/x"])
def test_usual_places_of_a_run_are_taken(read: Callable[..., Config], run: str) -> None:
    assert read(GOOD, f"run={run!r}").run == run


def test_a_date_is_a_text(read: Callable[..., Config]) -> None:
    assert read(GOOD, "data.split=2024-02-30").data.split == "2024-02-30"
    assert read(GOOD, "select.relative_margin=1e-3").select.relative_margin == 0.001


def test_a_setting_below_a_short_form_keeps_it(read: Callable[..., Config]) -> None:
    sources = "run: x\nencoder: {model: x}\ndata: {corpus: c.csv, queries: q.csv, judgements: j.csv}\n"
    corpus = read(sources, "data.corpus.columns.text=body").data.corpus
    assert corpus is not None
    assert (corpus.path, corpus.columns) == (("c.csv",), {"text": "body"})
    assert read(GOOD, "index=IVF4,SQ8", "index.train_rows=100").index.factory == "IVF4,SQ8"


@pytest.mark.parametrize("place", ["", ".", "/nowhere", "x" * 5000, "nul\x00"])
def test_what_is_no_file_is_refused(place: str) -> None:
    with pytest.raises(InputError):
        load(place)


def test_every_section_refuses_what_its_kind_excludes() -> None:
    """Whoever adds a section takes the same base: one that does not is found here."""
    sections = {Config, *(field.annotation for field in Config.model_fields.values())}
    for section in sections:
        if isinstance(section, type) and issubclass(section, BaseModel):
            assert section.model_config["extra"] == "forbid"
            assert section.model_config["allow_inf_nan"] is False
            assert section.model_config["frozen"] is True


def test_sizes_are_whole_and_finite() -> None:
    assert EngineConfig(memory_budget="1.5GiB").memory_budget == 3 << 29  # type: ignore[arg-type]
    for size in ("-4GiB", float("inf"), True, "٤GiB", "9" * 400, "4 gigs", 2**70):
        with pytest.raises(ValueError, match="memory_budget"):
            EngineConfig(memory_budget=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["spark", "", "local,ray", "LOCAL"])
def test_an_unknown_engine_is_refused_by_its_option(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("run: run\ndata: {beir: b}\nencoder: {model: m}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"^--engine .*: there is no such engine\. Choose one of ray, beam, local\.$"):
        load(str(path), engine=engine)
