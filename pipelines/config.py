"""The configuration: one YAML file, `--set` on top of it, checked as a whole before anything starts."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from fsspec.registry import known_implementations, registry
from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, ValidationError, field_validator, model_validator

from operators.candidates.select import SelectConfig
from operators.datasets.formats import ExportConfig
from operators.documents.clean import CleanConfig
from operators.documents.data import DataConfig
from operators.errors import InputError, shown
from operators.settings import AtLeastOne, Place, Settings
from operators.vectors.encoder import EncoderConfig
from operators.vectors.factory import check_factory
from operators.vectors.index import IndexConfig
from operators.vectors.search import SearchConfig
from pipelines.config_errors import OPTIONS, explained
from pipelines.yaml_file import LONGEST_FILE, NotYamlError, parse

# Ray counts in ten-thousandths.
Amount = Annotated[float, Field(ge=1e-4, le=1e6)]
# Of these Ray knows by itself how much a node has.
COUNTED_BY_RAY = {"CPU", "GPU", "memory", "object_store_memory"}
# Sections that may be given by one of their keys alone.
SHORTHANDS = {
    "index": "factory",
    "data.corpus": "path",
    "data.queries": "path",
    "data.judgements": "path",
    "data.pairs": "path",
}
# Storages of fsspec that nothing can be written to, or that lie within another.
NO_PLACE_FOR_A_RUN = {
    "http",
    "https",
    "data",
    "zip",
    "tar",
    "libarchive",
    "git",
    "github",
    "gist",
    "reference",
    "generic",
}
_SIZE = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})? ?[A-Za-z]{0,5}", re.ASCII)


def _is_a_size(value: object) -> object:
    if isinstance(value, int) or (isinstance(value, str) and _SIZE.fullmatch(value.strip())):
        return value
    raise ValueError("a size is wanted, such as 4GiB")


Size = Annotated[ByteSize, BeforeValidator(_is_a_size)]


def _gpus(value: float) -> float:
    if value > 1 and value % 1:
        raise ValueError("more than one GPU is counted in whole numbers")
    return value


Engine = Literal["ray", "beam", "local"]
ENGINES: tuple[str, ...] = get_args(Engine)
Gpus = Annotated[float, Field(ge=0, le=1024), AfterValidator(_gpus)]


class EngineConfig(Settings):
    """Where the work runs. Nothing here changes the result.

    Attributes:
        name: `ray` (Ray Data), `beam` (Apache Beam) or `local` (this process).
        address: of a Ray cluster, or `auto`; null starts a local Ray.
        beam_options: Beam's pipeline options, such as `--runner=DataflowRunner`; none run it on this machine. They may
            hold credentials, and are never written down.
        workers: the most workers a step may have; `auto` is one for each core, on Ray fewer for little work.
        encoder_workers: how many copies of the model; `auto` is one for each GPU, or for every 8 cores of a machine.
        encoder_gpus: GPUs for each copy; `auto` is 1 where there are any, else 0.
        encoder_resources: custom resources of Ray that each copy takes, such as `{gpu_node: 1}`: it runs on a node that
            offers them, in a cluster that has several kinds of nodes.
        search_gpus: GPUs for each worker that compares every vector; 0 searches on CPUs.
        search_resources: custom resources of Ray that each worker takes that builds or opens shards of the index.
        memory_budget: what a worker may take, such as `4GiB`. It decides how large the shards of the index are, so
            another budget builds them anew.
        cache: a folder on each worker's own disk for copies of shards that lie in object storage.
        cache_size: of that folder, such as `50GiB`; what was used least lately is removed first.
    """

    name: Engine = "ray"
    address: str | None = None
    beam_options: tuple[str, ...] = Field(default=(), repr=False, exclude=True)
    workers: Literal["auto"] | AtLeastOne = "auto"
    encoder_workers: Literal["auto"] | AtLeastOne = "auto"
    encoder_gpus: Literal["auto"] | Gpus = "auto"
    encoder_resources: dict[str, Amount] = Field(default_factory=dict)
    search_gpus: Gpus = 0
    search_resources: dict[str, Amount] = Field(default_factory=dict)
    memory_budget: Size = Field(default=ByteSize(4 << 30), ge=512 << 20, le=1 << 50)
    cache: Place = "~/.cache/hardneg"
    cache_size: Size = Field(default=ByteSize(50 << 30), ge=0, le=1 << 60)

    @field_validator("encoder_resources", "search_resources")
    @classmethod
    def _are_custom(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            if name in COUNTED_BY_RAY:
                raise ValueError(f"{name} is no custom resource. Name one that nodes are started with")
            if amount > 1 and amount % 1:
                raise ValueError(f"{name}: Ray counts what is more than one in whole numbers")
        return resources


class Config(Settings):
    """All of a run.

    Attributes:
        run: the run directory, any fsspec URI.
        storage_options: what fsspec needs to open the run directory. Never written down.
    """

    run: Place
    data: DataConfig
    clean: CleanConfig = CleanConfig()
    encoder: EncoderConfig = EncoderConfig()
    index: IndexConfig = IndexConfig()
    search: SearchConfig = SearchConfig()
    select: SelectConfig = SelectConfig()
    export: ExportConfig = ExportConfig()
    engine: EngineConfig = EngineConfig()
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @field_validator("index", mode="before")
    @classmethod
    def _a_string_is_a_factory(cls, value: object) -> object:
        return {"factory": value} if isinstance(value, str) else value

    @field_validator("run")
    @classmethod
    def _is_a_folder_to_write_to(cls, run: str) -> str:
        storage, separator, _ = run.partition("://")
        if "::" in run or (separator and storage in NO_PLACE_FOR_A_RUN):
            raise ValueError(
                "a run directory is a folder that can be written to: a path, or a URI such as s3://bucket/run"
            )
        if separator and storage not in known_implementations and storage not in registry:
            raise ValueError(f"no storage is known as {shown(storage)}; s3://, gs:// and file:// are such names")
        if not separator and re.match(r"[A-Za-z][A-Za-z0-9]+:/", run):
            raise ValueError("a URI has two slashes behind the colon")
        return run

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.select.range_max > self.search.k:
            raise ValueError(
                f"select.range_max ({self.select.range_max}) is deeper than search.k ({self.search.k}) finds. "
                f"Raise search.k or lower select.range_max."
            )
        if self.encoder.model is None and not (self.data.has_vectors("corpus") and self.data.has_vectors("queries")):
            raise ValueError(
                "encoder.model is missing. Name a sentence-transformers model, or the columns that hold the vectors "
                "(data.corpus.columns.vector and data.queries.columns.vector)."
            )
        return self


def load(path: str, settings: Sequence[str] = (), engine: str | None = None) -> Config:
    """Read a configuration file and put `key.path=value` settings on top of it.

    Raises:
        InputError: the file cannot be read, or a key or value in it or in a setting is wrong.
    """
    raw = _read(path)
    for setting in settings:
        _put(raw, setting)
    if engine is not None:
        if engine not in ENGINES:
            raise InputError(f"--engine {shown(engine)}: there is no such engine. Choose one of {', '.join(ENGINES)}.")
        _put(raw, f"engine.name={engine}")
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(explained(error, Config, path, [setting.partition("=")[0] for setting in settings])) from None
    check_factory(config.index.factory)
    return config


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = parse(file.read(LONGEST_FILE + 1))
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such file. Ready configurations are in configs/.") from None
    except NotYamlError as error:  # it quotes no line: a secret may stand there
        line = f", line {error.line}" if error.line else ""
        raise InputError(f"{path}{line}: not YAML: {error}.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{shown(path)}: this cannot be read as a configuration file: {why}.") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a mapping of keys is wanted, such as `run: runs/first`.")
    return raw


def _put(raw: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise InputError(
            f"--set {OPTIONS if OPTIONS in setting else shown(setting)}: `key.path=value` is wanted, such as "
            f"select.relative_margin=0.05."
        )
    try:
        parsed = parse(value)
    except NotYamlError as error:
        raise InputError(f"--set {key}: the value is not YAML: {error}.") from None
    place, names = raw, key.split(".")
    for depth, name in enumerate(names[:-1]):
        inner = place.get(name)
        if ".".join(names[: depth + 1]) in SHORTHANDS and isinstance(inner, str | list):
            inner = {SHORTHANDS[".".join(names[: depth + 1])]: inner}
        place[name] = dict(inner) if isinstance(inner, dict) else {}
        place = place[name]
    place[names[-1]] = parsed


def resolved(config: Config) -> Mapping[str, Any]:
    """Return the configuration with every default, as it is saved with the run; without storage options."""
    return config.model_dump(mode="json")
