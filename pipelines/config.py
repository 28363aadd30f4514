"""The configuration: one YAML file, `--set` on top of it, checked as a whole before anything starts."""

import difflib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from operators.candidates.select import SelectConfig
from operators.datasets.formats import ExportConfig
from operators.documents.clean import CleanConfig
from operators.documents.sources import DataConfig
from operators.errors import InputError
from operators.vectors.encode import EncoderConfig
from operators.vectors.index import IndexConfig, check_factory
from operators.vectors.search import SearchConfig

Amount = Annotated[float, Field(gt=0)]
# Of these Ray knows by itself how much a node has.
COUNTED_BY_RAY = {"CPU", "GPU", "memory", "object_store_memory"}
# What stands under this key may be secret: no message repeats it.
OPTIONS = "storage_options"


class EngineConfig(BaseModel):
    """Where the work runs. Nothing here changes the result.

    Attributes:
        name: `ray` (Ray Data), `beam` (Apache Beam) or `local` (this process).
        address: of a Ray cluster, or `auto`; null starts a local Ray.
        beam_options: Beam's pipeline options, such as `--runner=DataflowRunner`; none run it on this machine. They may
            hold credentials, and are never written down.
        workers: the most workers a step may have; `auto` is one for each core.
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["ray", "beam", "local"] = "ray"
    address: str | None = None
    beam_options: tuple[str, ...] = Field(default=(), repr=False, exclude=True)
    workers: Literal["auto"] | int = "auto"
    encoder_workers: Literal["auto"] | int = "auto"
    encoder_gpus: Literal["auto"] | float = "auto"
    encoder_resources: dict[str, Amount] = {}
    search_gpus: float = Field(default=0, ge=0)
    search_resources: dict[str, Amount] = {}
    memory_budget: ByteSize = Field(default=ByteSize(4 << 30), ge=512 << 20)
    cache: str = "~/.cache/hardneg"
    cache_size: ByteSize = ByteSize(50 << 30)

    @field_validator("encoder_resources", "search_resources")
    @classmethod
    def _are_custom(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            if name in COUNTED_BY_RAY:
                raise ValueError(f"{name} is no custom resource. Name one that nodes are started with")
            if amount > 1 and amount % 1:
                raise ValueError(f"{name}: Ray counts what is more than one in whole numbers")
        return resources


class Config(BaseModel):
    """All of a run.

    Attributes:
        run: the run directory, any fsspec URI.
        storage_options: what fsspec needs to open the run directory. Never written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
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
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Ready configurations lie in configs/.") from error
    except yaml.MarkedYAMLError as error:  # its own text quotes the line, with whatever secret stands there
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: not YAML: {error.problem}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a YAML file that can be read: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a mapping of keys is wanted, such as `run: runs/first`.")
    for setting in settings:
        _put(raw, setting)
    if engine is not None:
        _put(raw, f"engine.name={engine}")
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        # A list whose items are all wrong is said to be too short, too.
        told = [one for one in error.errors() if one["type"] != "too_short" or not one["input"]]
        raise InputError("\n".join(_explain(path, one, settings) for one in told)) from error
    check_factory(config.index.factory)
    return config


def _put(raw: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        shown = OPTIONS if OPTIONS in setting else setting
        raise InputError(f"--set {shown}: `key.path=value` is wanted, such as select.relative_margin=0.05.")
    place, names = raw, key.split(".")
    for name in names[:-1]:
        inner = place.get(name)
        if name == "index" and isinstance(inner, str):
            inner = {"factory": inner}
        place[name] = dict(inner) if isinstance(inner, dict) else {}
        place = place[name]
    try:
        place[names[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        if OPTIONS in names:
            raise InputError(f"--set {key}: the value is not YAML.") from None
        raise InputError(f"--set {setting}: the value is not YAML ({error}).") from error


def _explain(path: str, error: ErrorDetails, settings: Sequence[str]) -> str:
    steps = [
        str(step)
        for step in error["loc"]
        if not str(step).startswith(("literal[", "constrained-", "function-", "nullable"))
    ]
    key = ".".join(steps)
    source = (
        f"--set {key}"
        if any(setting.partition("=")[0] == key for setting in settings)
        else f"{path}: {key}".rstrip(": ")
    )
    if error["type"] == "extra_forbidden":
        keys = _keys_beside(steps)
        near = difflib.get_close_matches(steps[-1], keys, n=1, cutoff=0.5)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        return f"{source}: there is no such key.{meant} The keys here are {', '.join(keys)}."
    if error["type"] == "missing":
        return f"{source}: this key is missing."
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "model_type":
        message = f"a mapping of keys is wanted: {', '.join(_keys_beside([*steps, '']))}"
    given = "" if isinstance(error["input"], dict) or OPTIONS in steps else f" It is {error['input']!r}."
    return f"{source}: {message.rstrip('.')}.{given}"


def _keys_beside(steps: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Config
    for step in steps[:-1]:
        inner = _model_in(model.model_fields[step].annotation) if step in model.model_fields else None
        if inner is None:
            break
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a type
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None)


def resolved(config: Config) -> Mapping[str, Any]:
    """Return the configuration with every default, as it is saved with the run; without storage options."""
    return config.model_dump(mode="json")
