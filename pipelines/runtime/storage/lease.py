"""One run at a time on a run directory: a lease that is taken by a conditional write and kept alive by a heartbeat.

`<run>/_lease/00001.json` is created only if it is not there: O_EXCL here, `If-None-Match` on object stores. The lease
with the highest number is the one that counts; whoever takes over a dead one creates the next number, again only if it
is not there. Whoever created one looks again: where there is a lease that it did not find dead, or its own is gone, it
steps back, so of several that come at the same time at most one goes on. No clocks are compared: a lease is dead when
it did not change while it was watched.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from operators.storage import as_input_error, is_storage_error
from pipelines.runtime.errors import BusyError, LostLeaseError
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.run_directory import RunDirectory

LEASES = "_lease"
SECONDS_BETWEEN_BEATS = 3.0  # a write and two small reads each time; a second run is refused within one
BEATS_TO_LIVE = 8
BEATS_TO_WRITE = 2
SECONDS_BETWEEN_LOOKS = 0.5
# The start of a process is given by the clock of the machine, which may be set while it runs.
SECONDS_OF_CLOCK = 5.0

log = logging.getLogger(__name__)


@dataclass
class Lease:
    """The right to write into a run directory, from `acquire` to `release`.

    Attributes:
        run: the run directory.
        engine: where the run works, for those who find the lease.
        beat: seconds between two signs of life; after eight times as long without one, others take over.
    """

    run: Folder
    engine: str = "local"
    beat: float = SECONDS_BETWEEN_BEATS
    _number: int = field(default=0, init=False)
    _beats: int = field(default=0, init=False)
    _lost: str | None = field(default=None, init=False)
    _token: str = field(default_factory=lambda: uuid.uuid4().hex, init=False)
    _started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"), init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def acquire(self) -> None:
        """Take the lease; a dead one is taken over, at once where its process ended on this machine.

        Raises:
            BusyError: another run holds it.
        """
        while not self._number:
            numbers = self._numbers()
            # All of them: the highest may be of a run that steps back, while another run holds a lower one.
            stale = {number: self._wait_until_stale(number) for number in reversed(numbers)}
            taken = (numbers[-1] if numbers else 0) + 1
            if not self._create(taken):
                continue
            others = [number for number in self._numbers() if number != taken]
            met = any(self._read(number) != stale.get(number) for number in others)  # they came after the list was made
            # Looked at last: a run that held the lease in the meantime removed all others.
            if met or not self._is_own(taken):
                self._remove_own(taken)
                continue
            self._number = taken
            self._remove_others()
        self._thread = threading.Thread(target=self._heartbeat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Stop a run that has lost its lease.

        Raises:
            LostLeaseError: another run took the lease over.
        """
        if self._lost is not None:
            raise LostLeaseError(self._lost)

    def release(self) -> None:
        """Give the lease back; nothing of it stays."""
        self.stop()
        self._remove_own(self._number)
        self.run.remove_if_empty(LEASES)

    def stop(self, *, wait: bool = True) -> None:
        """Give no more signs of life; one that is under way is waited for."""
        self._ended.set()
        if wait and self._thread is not None:
            self._thread.join()

    def _numbers(self) -> list[int]:
        names = [name.removesuffix(".json") for name in self.run.names(LEASES) if name.endswith(".json")]
        return sorted(int(name) for name in names if name.isdigit())

    def _remove_own(self, number: int) -> None:
        """Remove a lease, unless it was taken over: then the file may be of another run by now."""
        if self._is_own(number):
            self.run.remove(_name(number))

    def _is_own(self, number: int) -> bool:
        return (self._read(number) or {}).get("token") == self._token

    def _remove_others(self) -> None:
        names = {_name(number).rpartition("/")[2] for number in self._numbers() if number != self._number}
        for name in names & self.run.files(LEASES).keys():
            self.run.remove(f"{LEASES}/{name}")

    def _wait_until_stale(self, number: int) -> dict[str, Any] | None:
        """Return what a free lease holds: its process is dead, it is gone, or it did not change for too long.

        Raises:
            BusyError: it changed.
        """
        first = self._read(number)
        if first is None or _is_dead(first):
            return first
        # A record that cannot be read is damaged, or just being written.
        until = time.monotonic() + (BEATS_TO_LIVE if first else BEATS_TO_WRITE) * self.beat
        while time.monotonic() < until:
            time.sleep(min(SECONDS_BETWEEN_LOOKS, self.beat))
            now = self._read(number)
            if now is None or _is_dead(now):
                return now
            if now != first:
                raise BusyError(_busy(self.run.uri, now))
        return first

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            content = self.run.read_json(_name(number))
            return dict(content) if isinstance(content, dict) else {}
        except (FileNotFoundError, IsADirectoryError):
            return None
        except ValueError:  # damaged; and where links are missing, a file is there before its content is
            return {}

    def _create(self, number: int) -> bool:
        if not self.run.create(_name(number), self._content()):
            # A request that is sent again after its answer was lost meets what it wrote the first time.
            return self._is_own(number)
        return True

    def _content(self) -> bytes:
        content = {
            "token": self._token,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "engine": self.engine,
            "started": self._started,
            "beats": self._beats,
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    def _heartbeat(self) -> None:
        while not self._ended.wait(self.beat):
            try:
                self._lost = self._new_owner()
                if self._lost is not None:
                    return
                self._beats += 1
                self.run.write_bytes(_name(self._number), self._content())
            except Exception as error:  # the store may be back at the next beat; if not, the run itself fails
                log.debug("no sign of life: %s", error)

    def _new_owner(self) -> str | None:
        """Say who took the lease over, if somebody did."""
        latest, own = max(self._numbers(), default=0), self._read(self._number)
        later = self._read(latest) if latest > self._number else None
        if later is None and own is not None and own.get("token", self._token) == self._token:
            return None
        other = later or own or {}
        who = f"{_who(other)} took it over" if other else "it was taken over"
        return (
            f"{self.run.uri}: this run lost the run directory: {who}, as this run gave no heartbeat for "
            f"{BEATS_TO_LIVE * self.beat:.0f} s. No data is damaged; the other run goes on."
        )


@dataclass(frozen=True)
class Holder:
    """Who works on a run directory.

    Attributes:
        who: host/pid.
        engine: where it works.
        silent: seconds since the last sign of life, by the clock of this machine against that of the storage.
        lives: whether that is not too long, and its process is not known to be dead.
    """

    who: str
    engine: str
    silent: float
    lives: bool


def holder(run: RunDirectory) -> Holder | None:
    """Look who holds the lease of a run directory; None where it is free."""
    times = run.times(LEASES)
    if not times:
        return None
    latest = max(times)
    try:
        content = dict(run.read_json(f"{LEASES}/{latest}"))
    except (FileNotFoundError, ValueError, TypeError):  # released in the meantime, or damaged
        return None
    silent = max(time.time() - times[latest], 0.0)
    lives = silent < BEATS_TO_LIVE * SECONDS_BETWEEN_BEATS and not _is_dead(content)
    return Holder(f"{content.get('host')}/{content.get('pid')}", str(content.get("engine")), silent, lives)


@contextmanager
def hold_lease(run: RunDirectory, engine: str) -> Iterator[Lease]:
    """Hold the lease of a run directory. A run that ends in an error leaves no folder that was not there before.

    Raises:
        BusyError: another run holds it.
        InputError: the run directory cannot be written to.
    """
    lease, existed = Lease(run, engine), run.exists()
    try:
        with as_input_error("run", run.uri, run.storage_options, allow=(BusyError,)):
            lease.acquire()
    except OSError:  # a full disk
        run.remove_if_empty(LEASES)
        if not existed:
            run.remove_if_empty()
        raise
    try:
        yield lease
    except Exception as error:
        if is_storage_error(error):  # giving back needs the store; the next run finds that this one is dead
            lease.stop(wait=False)
        else:
            _release(lease, existed)
        raise
    except BaseException:  # an interrupt
        _release(lease, existed)
        raise
    _release(lease, existed)


def _release(lease: Lease, existed: bool) -> None:
    try:
        lease.release()
        if not existed:
            lease.run.remove_if_empty()
    except Exception as error:  # the work is done; a lease that stays is taken over by the next run
        log.warning("The lease of %s could not be given back: %s", lease.run.uri, error)


def _name(number: int) -> str:
    return f"{LEASES}/{number:05d}.json"


def _is_dead(owner: dict[str, Any]) -> bool:
    """Tell whether the process of a lease has ended, where that can be known: it ran on this machine."""
    if owner.get("machine") != _machine():
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        started = abs(process.create_time() - float(owner["process_started"])) < SECONDS_OF_CLOCK
        return not started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ):  # damaged: its holder will write it again
        return False


def _machine() -> str:
    """Name what gives process ids their meaning: the machine since its start, and the container in it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return "/".join(parts)


def _busy(uri: str, owner: dict[str, Any]) -> str:
    return (
        f"{uri}: another run is at work on this run directory: {_who(owner)}, since {owner.get('started', 'unknown')}. "
        f"Wait for it to end, or end it, and give the same command again."
    )


def _who(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')} (engine {owner.get('engine', '?')})"
