"""The part of a configuration that every pipeline has: where a run writes, and where its work runs."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args

from fsspec.registry import known_implementations, registry
from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, field_validator

from operators.errors import InputError, shown
from operators.settings import AtLeastOne, Place, Settings

if TYPE_CHECKING:
    from pipelines.runtime.engines.ray_cluster import RayCluster
    from pipelines.runtime.stage import Stage
    from pipelines.runtime.storage.run_directory import RunDirectory

# Ray counts in ten-thousandths.
Amount = Annotated[float, Field(ge=1e-4, le=1e6)]
# Of these Ray knows by itself how much a node has.
COUNTED_BY_RAY = {"CPU", "GPU", "memory", "object_store_memory"}
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


Run = TypeVar("Run", bound="RunConfig")


class RunConfig(Settings):
    """A pipeline and its run: what the configuration of every pipeline begins with.

    A pipeline is a subclass with its own keys, and `stages`.

    Attributes:
        pipeline: which one, as `pipelines.config.load` finds it.
        run: the run directory, any fsspec URI.
        engine: where the work runs.
        storage_options: what fsspec needs to open the run directory. Never written down.
        groups: of stages, in order: name -> what its command does, for `--help`.
        shorthands: sections that may be given by one of their keys alone: section -> key.
    """

    pipeline: str
    run: Place
    engine: EngineConfig = EngineConfig()
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    groups: ClassVar[Mapping[str, str]]
    shorthands: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def stages(self, cluster: "RayCluster | None") -> Sequence["Stage"]:
        """Check all that the stages read, and return them in order. Nothing is written.

        Args:
            cluster: where the work runs; None where that is no Ray cluster.

        Raises:
            InputError: an input is missing or wrong.
        """

    def directory(self) -> "RunDirectory":
        """Return the run directory. Nothing is written."""
        from pipelines.runtime.storage.folder import absolute
        from pipelines.runtime.storage.run_directory import RunDirectory

        return RunDirectory(absolute(self.run), self.storage_options)

    def check(self) -> None:
        """Check what needs more than the configuration itself; called once when it is loaded.

        Raises:
            InputError: a value is wrong.
        """

    def sources_options(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the storage options of the sources, by section: no message repeats what is in them."""
        return {}

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


def check_engine(place: str, engine: str) -> None:
    """Refuse the name of an engine that there is not.

    Raises:
        InputError: it names the place.
    """
    if engine not in ENGINES:
        raise InputError(f"{place} {shown(engine)}: there is no such engine. Choose one of {', '.join(ENGINES)}.")


def with_engine(config: Run, engine: str) -> Run:
    """Return a configuration with another engine.

    Raises:
        InputError: there is no such engine.
    """
    check_engine("engine", engine)
    return config.model_copy(update={"engine": config.engine.model_copy(update={"name": engine})})


def resolved(config: RunConfig) -> Mapping[str, Any]:
    """Return the configuration with every default, as it is saved with the run; without storage options."""
    return config.model_dump(mode="json")
