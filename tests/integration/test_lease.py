"""One run at a time on a run directory, on local files and on a real object store."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.local.object_store import ObjectStore
from operators.errors import InputError
from pipelines.runtime.engines import Pool, Unit
from pipelines.runtime.engines.checked import CheckedEngine
from pipelines.runtime.engines.local import LocalEngine
from pipelines.runtime.errors import BusyError, LostLeaseError
from pipelines.runtime.storage.lease import BEATS_TO_LIVE, LEASES, Lease, hold_lease
from pipelines.runtime.storage.run_directory import RunDirectory
from tests.integration.conftest import Collection, configuration, dataset, run, stored_dataset

BEAT = 0.2

# Takes the lease of the run directory of its first argument, says so, and holds it until its input ends.
HOLDER = """
import sys
from pipelines.runtime.errors import BusyError
from pipelines.runtime.storage.lease import Lease
from pipelines.runtime.storage.run_directory import RunDirectory
lease = Lease(RunDirectory(sys.argv[1]), "local", beat=0.2)
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.acquire()
except BusyError as busy:
    print("busy", busy, flush=True)
else:
    print("won", flush=True)
    sys.stdin.readline()
    lease.release()
"""


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run directory that does not exist yet; its storage is reached through the environment."""
    if request.param == "local":
        return RunDirectory(str(tmp_path / "run"))
    store: ObjectStore = request.getfixturevalue("object_store")
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    return RunDirectory(f"{request.getfixturevalue('bucket')}/run", store.storage_options())


@pytest.fixture
def start_holder(place: RunDirectory) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", HOLDER, place.uri], **pipes)
        started.append(process)
        assert answer(process) == "ready"
        return process

    yield start
    for process in started:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lease_of(place: RunDirectory, **changed: Any) -> Lease:  # noqa: ANN401
    """Write what another holder would, with some of it changed; nobody gives it signs of life."""
    other = Lease(place, "local", beat=BEAT)
    content = {**json.loads(other._content()), **changed}
    assert place.create(f"{LEASES}/00001.json", json.dumps(content).encode())
    return other


def test_of_many_writers_one_creates_a_file(place: RunDirectory) -> None:
    together, created = threading.Barrier(8), []

    def write(number: int) -> None:
        together.wait()
        created.append(place.create("one", f"{number}".encode() * 1000))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False] * 7 + [True]
    assert len(place.read_bytes("one")) == 1000
    assert place.names() == ["one"]


def test_of_two_processes_one_holds_the_run_directory(
    place: RunDirectory, start_holder: Callable[[], subprocess.Popen[str]]
) -> None:
    racing = [start_holder() for _ in range(2)]
    for process in racing:
        go_on(process)
    said = {answer(process).split()[0]: process for process in racing}
    assert set(said) == {"won", "busy"}
    go_on(said["won"])
    assert said["won"].wait(10) == 0
    assert place.names() == []


def test_the_refusal_names_who_holds_it(place: RunDirectory, start_holder: Callable[[], subprocess.Popen[str]]) -> None:
    holder = start_holder()
    go_on(holder)
    assert answer(holder) == "won"
    with pytest.raises(BusyError, match=rf"{place.uri}: another run .* process {holder.pid} on .*, since 20"):
        Lease(place, beat=BEAT).acquire()


def test_what_a_killed_process_held_is_taken_over_at_once(
    place: RunDirectory, start_holder: Callable[[], subprocess.Popen[str]]
) -> None:
    holder = start_holder()
    go_on(holder)
    assert answer(holder) == "won"
    holder.kill()  # and not waited for: it is a zombie
    began = time.monotonic()
    lease = Lease(place, beat=60)
    lease.acquire()
    assert time.monotonic() - began < 5
    assert place.names(LEASES) == ["00002.json"]
    lease.release()
    assert place.names() == []


@pytest.mark.parametrize("changed", [{"machine": "another", "pid": 1 << 22}, {}])
def test_a_lease_without_signs_of_life_is_watched_and_then_taken_over(
    place: RunDirectory, changed: dict[str, Any]
) -> None:
    lease_of(place, **changed)
    began = time.monotonic()
    lease = Lease(place, beat=BEAT)
    lease.acquire()
    assert time.monotonic() - began >= BEATS_TO_LIVE * BEAT
    lease.release()


def test_a_process_id_that_was_given_again_is_no_sign_of_life(place: RunDirectory) -> None:
    lease_of(place, process_started=time.time() - 10_000)
    began = time.monotonic()
    with hold_lease(place, "local"):
        assert time.monotonic() - began < 5


def test_two_threads_of_one_process_are_two_runs(place: RunDirectory) -> None:
    first, second = Lease(place, beat=BEAT), Lease(place, beat=BEAT)
    first.acquire()
    refused: list[BaseException] = []

    def try_it() -> None:
        try:
            second.acquire()
        except BusyError as error:
            refused.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert refused
    first.release()


def test_a_run_that_lost_its_lease_stops_at_the_end_of_the_step(place: RunDirectory) -> None:
    lease = Lease(place, beat=BEAT)
    lease.acquire()
    done = []

    def work(units: Sequence[Unit]) -> list[dict[str, Any]]:
        for unit in units:
            done.append(unit.name)
            if unit.name == "2":  # another run found no sign of life: this process was stopped for a while
                assert place.create(f"{LEASES}/00002.json", b'{"pid": 7, "host": "elsewhere", "engine": "ray"}')
                time.sleep(5 * BEAT)
        return []

    engine, units = CheckedEngine(LocalEngine(), lease.check), [Unit(str(n), {}) for n in range(5)]
    for _ in range(2):
        with pytest.raises(LostLeaseError, match="process 7 on elsewhere"):
            engine.map("step", lambda: work, units, Pool())
    assert done == ["0", "1", "2", "3", "4"]
    lease.release()
    assert place.names(LEASES) == ["00002.json"]


class SlowRunDirectory(RunDirectory):
    """A run directory whose calls take up to 20 ms, as those of a store: what was read is often out of date."""

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        found = super().__getattribute__(name)
        if name not in {"names", "read_json", "create", "remove", "files", "remove_if_empty"}:
            return found

        def slow(*arguments: object) -> Any:  # noqa: ANN401 - what any call gives
            time.sleep(max(random.uniform(-0.02, 0.01), 0))
            result = found(*arguments)
            time.sleep(max(random.uniform(-0.02, 0.01), 0))
            return result

        return slow


def test_at_most_one_of_many_holds_the_lease_at_any_time(tmp_path: Path) -> None:
    """Threads take the lease and give it back as fast as they can, in an order that differs each time."""
    place, inside, held = SlowRunDirectory(str(tmp_path / "run")), threading.Lock(), []
    until = time.monotonic() + 10

    def take_and_give_back() -> None:
        while time.monotonic() < until:
            lease = Lease(place, beat=0.2)
            try:
                lease.acquire()
            except BusyError:
                continue
            alone = inside.acquire(blocking=False)
            held.append(alone)
            time.sleep(random.uniform(0, 0.02))
            if alone:
                inside.release()
            lease.release()

    threads = [threading.Thread(target=take_and_give_back) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) > 20
    assert all(held)
    assert place.names(LEASES) == []


def test_a_lease_that_was_removed_is_lost(place: RunDirectory) -> None:
    lease = Lease(place, beat=BEAT)
    lease.acquire()
    place.fs.rm(place.path(LEASES), recursive=True)
    time.sleep(5 * BEAT)
    with pytest.raises(LostLeaseError):
        lease.check()
    lease.release()
    assert place.names() == []


def test_a_run_that_fails_leaves_no_lease(place: RunDirectory) -> None:
    def fail() -> None:
        with hold_lease(place, "local"):
            raise InputError("refused")

    with pytest.raises(InputError, match="refused"):
        fail()
    assert not place.exists()


def test_a_run_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    def take() -> None:
        with hold_lease(RunDirectory(str(tmp_path / "file" / "run")), "local"):
            pass

    with pytest.raises(InputError, match=r"/file: a file is where hardneg writes .*file/run/_lease"):
        take()


def test_of_two_real_runs_at_once_one_mines_and_the_other_says_so(
    collection: Collection, static_model: Path, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    # Many small units, so that the one is at work for longer than the other watches.
    raw = configuration(f"{bucket}/run", collection, static_model, data={"partition_rows": 8}).model_dump(mode="json")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(raw), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--json"]
    environment = {**os.environ, **object_store.environment()}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    try:
        ended = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()
    statuses = [process.returncode for process in both]
    assert sorted(statuses) == [0, 3], ended
    out, err = ended[statuses.index(3)]
    assert not out
    assert err.count("\n") == 1
    winner = both[statuses.index(0)].pid
    assert f"{bucket}/run: another run is at work on this run directory: process {winner} on " in err

    single = configuration(tmp_path / "single", collection, static_model, data={"partition_rows": 8})
    run(single)
    mined = stored_dataset(object_store.file_system(), f"{bucket}/run", tmp_path / "copied")
    assert mined.equals(dataset(tmp_path / "single"))
