"""Many source files in an object store on this machine: seconds until they are listed and looked at.

`python -m benchmarks.check` writes benchmarks/check.md.
"""

import io
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import pages
from infra.local.object_store import ObjectStore, temporary_object_store
from operators.documents.check import check
from operators.documents.sources import SourceConfig, list_files

ROWS = 20
GOAL = 60.0
TEXT = "words that a document may be made of " * 12


@dataclass(frozen=True)
class Checked:
    """Seconds to list the files of a format, to look at them, of both, and of the CPU."""

    listed: float
    looked: float
    whole: float
    cpu: float


CELLS = [field.name for field in fields(Checked)]


def main() -> None:
    """Fill a store, look at what is in it, and write the page."""
    parser = pages.parser(__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="of each format; default 20,000")
    args = parser.parse_args()
    with temporary_object_store() as store:
        sources = {ending: _filled(store, ending, args.files) for ending in FORMATS}
        measured: dict[str, list[Checked]] = {ending: [] for ending in FORMATS}
        for _ in range(args.rounds):
            for ending, source in sources.items():
                measured[ending].append(_checked(source))
                pages.tell(f"{ending}: {measured[ending][-1].whole:.1f} s")
    rows = [
        [ending, *(pages.spread([getattr(one, field) for one in rounds], 1) for field in CELLS)]
        for ending, rounds in measured.items()
    ]
    slowest = max(statistics.median(one.whole for one in rounds) for rounds in measured.values())
    pages.write(
        "check",
        [
            pages.heading("Sources of many files", "check"),
            f"{args.files:,} files of each format with {ROWS} documents each, in an S3 server (SeaweedFS) on the same "
            f"machine, as one glob. CPU seconds are those of hardneg alone; the server needs its own. "
            f"{pages.rounds_of(args.rounds)}",
            pages.table(["format", "seconds to list", "seconds to look at", "seconds of both", "CPU seconds"], rows),
            pages.goal(slowest <= GOAL, f"Listed and looked at in {GOAL:.0f} s"),
        ],
    )


def _filled(store: ObjectStore, ending: str, files: int) -> SourceConfig:
    bucket = store.make_bucket(ending)
    store.file_system().pipe({f"{bucket}/{i:06d}.{ending}": FORMATS[ending](i) for i in range(files)})
    pages.tell(f"{ending}: {files:,} files are written")
    return SourceConfig(path=(f"{bucket}/*",), storage_options=store.storage_options())


def _checked(source: SourceConfig) -> Checked:
    began, cpu = time.perf_counter(), _cpu_seconds()
    found = list_files("corpus", source)
    listed = time.perf_counter() - began
    check(found)
    whole = time.perf_counter() - began
    return Checked(listed, whole - listed, whole, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _rows(file: int) -> list[dict[str, object]]:
    return [{"doc_id": f"d{file}-{row}", "text": f"{row} {TEXT}", "number": row} for row in range(ROWS)]


def _jsonl(file: int) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in _rows(file)).encode()


def _parquet(file: int) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows(file)), written)
    return written.getvalue()


FORMATS: dict[str, Callable[[int], bytes]] = {"jsonl": _jsonl, "parquet": _parquet}

if __name__ == "__main__":
    main()
