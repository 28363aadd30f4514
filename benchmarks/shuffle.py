"""The shuffle alone, on Ray: n units, each with one row for each of n buckets, now and at an earlier revision.

`python -m benchmarks.shuffle` runs each size as a process of its own, with the code here and with that of `--before`,
and writes benchmarks/shuffle.md.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import pages
from benchmarks.processes import ROOT, resident_peak_kib

SIZES = (128, 256, 512, 1024)
BEFORE = "c826dcd"  # the last revision in which a shuffle made units x buckets objects
SECONDS_AT_MOST, MIB_AT_MOST = 60, 400
SIDES = ("before", "now")


@dataclass(frozen=True)
class Shuffled:
    """One shuffle.

    Attributes:
        seconds: of the shuffle, with Ray running; None where it did not finish, or failed.
        driver_mib: resident memory of the driver at its peak, in MiB.
        at_start_mib: of that, what the driver took before the shuffle; None where it did not finish.
        failed: why there are no seconds; empty where there are.
    """

    seconds: float | None
    driver_mib: float
    at_start_mib: float | None = None
    failed: str = ""


def main() -> None:
    """Run all sizes with both revisions and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--before", default=BEFORE, metavar="REV", help=f"the earlier revision; default {BEFORE}")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a process is ended; default 600")
    args = parser.parse_args()
    scratch = args.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    runs: dict[tuple[str, int], list[Shuffled]] = {
        (side, size): [] for side in args.sides for size in sorted(args.sizes)
    }
    with _checkouts(scratch, args.before, args.sides) as roots:
        for _ in range(args.rounds):
            for (side, size), done in runs.items():
                if done and done[-1].failed:  # it would fail again, after as long a time
                    continue
                done.append(shuffled(side, size, roots[side], scratch, args.limit))
                result = done[-1].failed or f"{done[-1].seconds:.1f} s"
                pages.tell(f"{side}, {size} x {size}: {result}, driver {done[-1].driver_mib:,.0f} MiB")
    about = (
        f"n units, each with one row for each of n buckets, on Ray. `before` is the engine's shuffle of revision "
        f"{args.before}, which commits nothing; `now` is that of a stage, which commits its units and its buckets. "
        f"Seconds of the shuffle, Ray being started. Memory is the highest resident set of the driver's process, "
        f"imports and pages of shared memory included; in brackets what it was before the shuffle. A process is ended "
        f"after {args.limit:g} s. {pages.rounds_of(args.rounds)}"
    )
    pages.write("shuffle", _page(runs, args.sides, about))


@contextmanager
def _checkouts(scratch: Path, revision: str, sides: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Give the root of each side's code; that of the earlier revision is a work tree, which is removed afterwards."""
    place = scratch / "shuffle-before"
    if "before" not in sides:
        yield {"now": ROOT}
        return
    _git("worktree", "add", "--force", "--detach", str(place), revision)
    try:
        yield {"now": ROOT, "before": place}
    finally:
        _git("worktree", "remove", "--force", str(place))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, stdout=subprocess.DEVNULL)


def shuffled(side: str, size: int, root: Path, scratch: Path, limit: float) -> Shuffled:
    """Shuffle in a process of its own, with the code in `root`; after so many seconds the process is ended."""
    log = scratch / f"shuffle-{side}-{size}.log"
    # Without `-P` the folder of the file would be searched first, and benchmarks/select.py taken for Python's own.
    command = [sys.executable, "-P", str(Path(__file__).with_name("shuffle_alone.py")), side, str(size)]
    with log.open("wb") as errors, log.with_suffix(".out").open("w+b") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            peak = resident_peak_kib(process.pid) / 1024
            return Shuffled(None, peak, failed=f"not finished in {limit:g} s")
        finally:
            _end(process)
        output.seek(0)
        lines = output.read().decode().splitlines()
    if process.returncode or not lines:
        pages.tell(log.read_text(encoding="utf-8", errors="replace")[-2000:])
        return Shuffled(None, 0, failed=f"failed with exit status {process.returncode}")
    return Shuffled(**json.loads(lines[-1]))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that still runs, with all that it started."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for one in below:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(below, timeout=10)


def _page(runs: dict[tuple[str, int], list[Shuffled]], sides: Sequence[str], about: str) -> list[str]:
    sizes = sorted({size for _, size in runs})
    head = ["units x buckets", *(f"{side}: {what}" for side in sides for what in ("seconds", "driver, MiB"))]
    rows = [[f"{size:,} x {size:,}", *(cell for side in sides for cell in _cells(runs[side, size]))] for size in sizes]
    return [
        pages.heading("The shuffle alone, on Ray", "shuffle"),
        about,
        pages.table(head, rows),
        "\n".join(_goals(runs.get(("now", SIZES[-1]), []))),
    ]


def _cells(done: Sequence[Shuffled]) -> list[str]:
    failed = next((one for one in done if one.failed), None)
    if failed is not None:
        return [failed.failed, f"{failed.driver_mib:,.0f}" if failed.driver_mib else "-"]
    at_start = statistics.median(one.at_start_mib or 0 for one in done)
    memory = f"{pages.spread([one.driver_mib for one in done])} [{at_start:,.0f}]"
    return [pages.spread([one.seconds or 0 for one in done], 1), memory]


def _goals(largest: Sequence[Shuffled]) -> list[str]:
    fast = small = None
    if largest:
        seconds = [one.seconds for one in largest if one.seconds is not None]
        fast = len(seconds) == len(largest) and statistics.median(seconds) < SECONDS_AT_MOST
        small = len(seconds) == len(largest) and statistics.median(one.driver_mib for one in largest) < MIB_AT_MOST
    what = f"{SIZES[-1]:,} x {SIZES[-1]:,} now"
    return [
        pages.goal(fast, f"{what} in under {SECONDS_AT_MOST} s"),
        pages.goal(small, f"{what} with a driver under {MIB_AT_MOST} MiB"),
    ]


if __name__ == "__main__":
    main()
