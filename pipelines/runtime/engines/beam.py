"""The Beam engine: every step is a Beam pipeline, on whichever runner its options name."""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder, registry
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState
from apache_beam.utils.shared import Shared

from pipelines.runtime.engines import Pool, Stats, Unit, Work, batches, from_json, to_json

# In this process: Beam's own choice would download another runner first.
HERE = "--runner=FnApiRunner"
# Of a step: at most so many workers of a service share it, a few dozen of them evenly.
BATCHES = 256
QUIET_WORKERS = "--default_sdk_harness_log_level=ERROR"


@dataclass(frozen=True)
class Batch:
    """Units that a worker does one after the other."""

    units: Sequence[Unit]


class BatchCoder(Coder):  # type: ignore[misc]  # Beam is untyped
    """Codes batches as JSON."""

    def encode(self, value: Batch) -> bytes:
        """Return a batch as bytes."""
        return to_json(value.units).encode()

    def decode(self, encoded: bytes) -> Batch:
        """Read a batch."""
        return Batch(from_json(encoded))

    def is_deterministic(self) -> bool:
        """Tell that it is: JSON keeps the order of keys."""
        return True


registry.register_coder(Batch, BatchCoder)


class BeamEngine:
    """Runs each step as a pipeline; the runner schedules it and retries bundles that failed.

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
        together = [Batch(batch) for batch in batches(units, BATCHES)]

        def wire(pipeline: beam.Pipeline) -> None:
            # Reshuffled, or a runner would do all of them where they were created.
            given = beam.Create(together, reshuffle=True).with_output_types(Batch)
            done = pipeline | "batches" >> given | "work" >> beam.ParDo(Do(step, make, pool.stateful))
            _ = done | "all" >> AssertCount(len(together))

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


class AssertCount(beam.PTransform):  # type: ignore[misc]
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


class SharedInstance:
    """Makes something once for a worker's process, and lends it to one thread at a time.

    Neither a model nor an open shard is for two threads, and each may take all cores.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.lock, self.made = threading.Lock(), make()


class Do(beam.DoFn):  # type: ignore[misc]
    """Does batches of units; their statistics are counters of the step.

    The work is made for each thread of a worker, or once for all where making it is costly.
    """

    def __init__(self, step: str, make: Callable[[], Work], stateful: bool) -> None:
        self.step, self.make, self.stateful, self.shared = step, make, stateful, Shared()

    def setup(self) -> None:
        """Make the work, or find it made."""
        if self.stateful:
            self.one = self.shared.acquire(lambda: SharedInstance(self.make))
        else:
            self.one = SharedInstance(self.make)

    def process(self, batch: Batch) -> Iterator[int]:
        """Do one batch."""
        with self.one.lock:
            done = self.one.made(batch.units)
        for stats in done:
            _count(self.step, stats)
        yield len(batch.units)


def _count(step: str, stats: Stats) -> None:
    """Add whole numbers, also one level deep as the reasons in `dropped`, to the step's counters."""
    for name, value in stats.items():
        inner = {f"{name}/{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        for counter, one in inner.items():
            if isinstance(one, int) and not isinstance(one, bool):
                Metrics.counter(step, counter).inc(one)
