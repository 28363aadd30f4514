"""Many source files in an object store on this machine: seconds until they are listed and looked at.

`python -m benchmarks.check` writes benchmarks/check.md.
"""

import io
import json
import resource
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import pages
from infra.local.object_store import ObjectStore, temporary_object_store
from operators.documents.check import check
from operators.documents.sources import SourceConfig, list_files

ROWS = 20
GOAL = 60.0
TEXT = "words that a document may be made of " * 12


def main() -> None:
    """Fill a store, look at what is in it, and write the page."""
    parser = pages.parser(__doc__, rounds=None)
    parser.add_argument("--files", type=int, default=20_000, help="of each format; default 20,000")
    args = parser.parse_args()
    with temporary_object_store() as store:
        measured = {ending: _measure(store, ending, args.files) for ending in FORMATS}
    rows = [[ending, *(f"{value:,.1f}" for value in values)] for ending, values in measured.items()]
    slowest = max(listed + looked for listed, looked, _ in measured.values())
    pages.write(
        "check",
        [
            pages.heading("Sources of many files", "check"),
            f"{args.files:,} files of each format with {ROWS} documents each, in an S3 server (SeaweedFS) on the same "
            f"machine, as one glob. CPU seconds are those of hardneg alone; the server needs its own. One round.",
            pages.table(["format", "seconds to list", "seconds to look at", "CPU seconds of both"], rows),
            pages.goal(slowest <= GOAL, f"Listed and looked at in {GOAL:.0f} s"),
        ],
    )


def _measure(store: ObjectStore, ending: str, files: int) -> tuple[float, float, float]:
    """Return the seconds to list and to look at files, and the CPU seconds of both."""
    bucket = store.make_bucket(ending)
    store.file_system().pipe({f"{bucket}/{i:06d}.{ending}": FORMATS[ending](i) for i in range(files)})
    pages.tell(f"{ending}: {files:,} files are written")
    began, cpu = time.perf_counter(), _cpu_seconds()
    found = list_files("corpus", SourceConfig(path=(f"{bucket}/*",), storage_options=store.storage_options()))
    listed = time.perf_counter() - began
    check(found)
    return listed, time.perf_counter() - began - listed, _cpu_seconds() - cpu


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
