"""The Beam engine: every step is a Beam pipeline, on whichever runner its options name."""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import Coder, registry
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState
from apache_beam.utils.shared import Shared

from operators.schemas import concat
from pipelines.engines import Gather, Pool, Route, Shuffle, Stats, Unit, Work
from pipelines.engines.payload import from_bytes, to_bytes

# In this process: Beam's own choice would download another runner first.
HERE = "--runner=FnApiRunner"
QUIET_WORKERS = "--default_sdk_harness_log_level=ERROR"


class TableCoder(Coder):  # type: ignore[misc]  # Beam is untyped
    """Codes tables as Arrow IPC streams."""

    def encode(self, value: pa.Table) -> bytes:
        """Return a table as bytes."""
        return to_bytes(value)

    def decode(self, encoded: bytes) -> pa.Table:
        """Read a table."""
        return from_bytes(encoded)

    def is_deterministic(self) -> bool:
        """Tell that it is not: equal tables may lie in other chunks."""
        return False


class UnitCoder(Coder):  # type: ignore[misc]
    """Codes units as JSON."""

    def encode(self, value: Unit) -> bytes:
        """Return a unit as bytes."""
        return json.dumps([value.name, dict(value.args)]).encode()

    def decode(self, encoded: bytes) -> Unit:
        """Read a unit."""
        return Unit(*json.loads(encoded))

    def is_deterministic(self) -> bool:
        """Tell that it is: JSON keeps the order of keys."""
        return True


registry.register_coder(pa.Table, TableCoder)
registry.register_coder(Unit, UnitCoder)


class BeamEngine:
    """Runs each step as a pipeline; the runner schedules it, retries bundles that failed, and shuffles.

    Attributes:
        results: of the pipelines that have run, with their metrics: for each step the counts in its statistics.
    """

    name = "beam"

    def __init__(self, options: Sequence[str] = (), workers: int | None = None) -> None:
        """Take Beam's pipeline options as they stand on a command line; without a runner it is this machine.

        Args:
            options: such as `--runner=DataflowRunner`.
            workers: where the runner is this machine: so many processes, and none but this one where it is None.
        """
        self.results: list[PipelineResult] = []
        self._options = list(options)
        if not any(option.partition("=")[0] == "--runner" for option in options):
            self._options.append(HERE)
            if workers is not None and workers > 1:
                self._options += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
        if not any(option.startswith("--default_sdk_harness_log_level") for option in options):
            self._options.append(QUIET_WORKERS)
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors are raised, too

    def map(self, step: str, make: Callable[[], Work], units: Sequence[Unit], pool: Pool) -> None:
        """Do the work of every unit."""

        def wire(pipeline: beam.Pipeline) -> None:
            done = pipeline | "units" >> _of(units) | "work" >> beam.ParDo(Do(step, make, pool.stateful))
            _ = done | "all" >> AllOf(len(units))

        self._run(step, wire)

    def shuffle(self, step: str, shuffle: Shuffle) -> None:
        """Route the rows, join them with the buckets that are wanted, and gather each bucket."""
        routing = beam.ParDo(RouteRows(shuffle.make_route, shuffle.pool.stateful))

        def wire(pipeline: beam.Pipeline) -> None:
            rows = pipeline | "units" >> _of(shuffle.units) | "route" >> routing
            wanted = pipeline | "buckets" >> beam.Create([(bucket, b"") for bucket in shuffle.buckets])
            joined = {"rows": rows, "wanted": wanted} | "join" >> beam.CoGroupByKey()
            done = joined | "gather" >> beam.ParDo(GatherRows(step, shuffle.gather, shuffle.schema))
            _ = done | "all" >> AllOf(len(shuffle.buckets))

        self._run(step, wire)

    def close(self) -> None:
        """No pipeline outlives its step."""

    def _run(self, step: str, wire: Callable[[beam.Pipeline], None]) -> None:
        options = PipelineOptions(self._options)
        cloud = options.view_as(GoogleCloudOptions)
        now = datetime.now(UTC).strftime("%m%d%H%M%S")
        cloud.job_name = re.sub("[^a-z0-9]+", "-", f"{cloud.job_name or 'hardneg'} {step} {now}")
        pipeline = beam.Pipeline(options=options)
        wire(pipeline)
        result = pipeline.run()
        state = result.wait_until_finish()
        if state not in {None, PipelineState.DONE}:
            raise RuntimeError(f"Beam's pipeline for {step} ended as {state}.")
        self.results.append(result)


def _of(units: Sequence[Unit]) -> beam.PTransform:
    # Reshuffled, or a runner would do all of them where they were created.
    return beam.Create(list(units), reshuffle=True).with_output_types(Unit)


class AllOf(beam.PTransform):  # type: ignore[misc]
    """Checks how many elements there are.

    It also gives the work something to send on: a runner that waits for no output does not see that its worker died.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Count."""
        return elements | "count" >> beam.combiners.Count.Globally() | "check" >> beam.Map(_check, self.count)


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{found} of {expected} elements came through.")


class OnePerWorker:
    """Makes something once for a worker's process, and lends it to one thread at a time.

    Neither a model nor an open shard is for two threads, and each may take all cores.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.lock, self.made = threading.Lock(), make()


class _Making(beam.DoFn):  # type: ignore[misc]
    """What is made on the worker: for each thread, or once for all where making it is costly."""

    def __init__(self, make: Callable[[], Any], stateful: bool) -> None:
        self.make, self.stateful, self.shared = make, stateful, Shared()

    def setup(self) -> None:
        """Make it, or find it made."""
        if self.stateful:
            self.one = self.shared.acquire(lambda: OnePerWorker(self.make))
        else:
            self.one = OnePerWorker(self.make)


class Do(_Making):
    """Does units; their statistics are counters of the step."""

    def __init__(self, step: str, make: Callable[[], Work], stateful: bool) -> None:
        super().__init__(make, stateful)
        self.step = step

    def process(self, unit: Unit) -> Iterator[str]:
        """Do one unit."""
        with self.one.lock:
            stats = self.one.made(unit)
        _count(self.step, stats)
        yield unit.name


@beam.typehints.with_output_types(tuple[int, pa.Table])
class RouteRows(_Making):
    """Routes the rows of units."""

    def __init__(self, make: Callable[[], Route], stateful: bool) -> None:
        super().__init__(make, stateful)

    def process(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """Route one unit."""
        with self.one.lock:
            yield from self.one.made(unit)


class GatherRows(beam.DoFn):  # type: ignore[misc]
    """Gathers buckets; their statistics are counters of the step."""

    def __init__(self, step: str, gather: Gather, schema: pa.Schema) -> None:
        self.step, self.gather, self.schema = step, gather, schema

    def process(self, group: tuple[int, Mapping[str, Iterable[Any]]]) -> Iterator[int]:
        """Gather one bucket."""
        bucket, joined = group
        _count(self.step, self.gather(bucket, concat(list(joined["rows"]), self.schema)))
        yield bucket


def _count(step: str, stats: Stats) -> None:
    """Add whole numbers, also one level deep as the reasons in `dropped`, to the step's counters."""
    for name, value in stats.items():
        inner = {f"{name}/{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        for counter, one in inner.items():
            if isinstance(one, int) and not isinstance(one, bool):
                Metrics.counter(step, counter).inc(one)
