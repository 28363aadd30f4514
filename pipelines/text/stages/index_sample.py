"""The vectors that train an index: spread evenly over the corpus, and read by range, as there may be few of many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.schemas import VectorDType, Vectors
from pipelines.runtime.storage.records import DamagedError
from pipelines.runtime.storage.run_directory import StageFolder

Ints = npt.NDArray[np.int64]
Part = Mapping[str, Any]

# A request to an object store takes a core 1 to 3 ms, and a sample has 65,536 rows by default.
MOST_RUNS = 8192
REQUESTS_AT_ONCE = 512


@dataclass(frozen=True)
class Encoded:
    """Files of vectors, as the encode stage wrote them.

    Attributes:
        folder: of that stage.
        dimension: of the vectors.
        dtype: in which they are kept.
    """

    folder: StageFolder
    dimension: int
    dtype: VectorDType


def runs_of(total: int, wanted: int) -> int:
    """Return in how many runs of consecutive rows a sample is taken.

    As many as it has rows, where these are few, or where so many of all are wanted that nearly all are read anyway.
    """
    return wanted if total < 2 * wanted else min(wanted, MOST_RUNS)


def sample_rows(total: int, wanted: int) -> Ints:
    """Return `wanted` of `total` rows, ascending, from the first to the last: runs at even distances."""
    row, runs = np.arange(wanted), runs_of(total, wanted)
    return row + row * runs // wanted * (total - wanted) // max(runs - 1, 1)


def read_sample(encoded: Encoded, parts: Sequence[Part], wanted: int) -> Vectors:
    """Read vectors at even distances over all partitions: shape (wanted, dimension), float16 or float32.

    At most twice their bytes are read. Checksums are of whole files, and are compared when shards are built; values
    that are not finite are noticed here, as they would make every shard useless.

    Args:
        encoded: the files.
        parts: their records, with `rows`, and `vectors_at`: of which byte on the vectors lie in the file.
        wanted: how many; there are at least as many.

    Raises:
        DamagedError: a file is missing, or is not what was written.
    """
    ends = np.cumsum([part["rows"] for part in parts])
    total = int(ends[-1])
    rows = sample_rows(total, wanted)
    part_of = np.searchsorted(ends, rows, side="right")
    # Rows between two runs are read, too, where they are no more than a run has: fewer requests.
    near = 1 + wanted // runs_of(total, wanted)
    begins = np.flatnonzero((np.diff(part_of, prepend=-1) != 0) | (np.diff(rows, prepend=-1) > near))
    first, stop = rows[begins], rows[np.append(begins[1:], wanted) - 1] + 1
    sample = np.empty((wanted, encoded.dimension), encoded.dtype)
    for at in range(0, len(begins), REQUESTS_AT_ONCE):
        block = slice(at, at + REQUESTS_AT_ONCE)
        files = [parts[part] for part in part_of[begins[block]]]
        before = ends[part_of[begins[block]]] - [file["rows"] for file in files]
        read = _read(encoded, files, first[block] - before, stop[block] - before)
        covered = np.concatenate([np.arange(*one) for one in zip(first[block], stop[block], strict=True)])
        taken = slice(*np.searchsorted(rows, [covered[0], covered[-1] + 1]))
        sample[taken] = read[np.searchsorted(covered, rows[taken])]
    finite = np.isfinite(sample).all(axis=1)
    if not finite.all():
        damaged = parts[part_of[np.argmin(finite)]]["path"]
        raise DamagedError(encoded.folder.uri, damaged, "the file has values that are not finite")
    return sample


def _read(encoded: Encoded, files: Sequence[Part], first: Ints, stop: Ints) -> Vectors:
    """Read rows of files, of each those from `first` to `stop`, and put them one behind the other."""
    width = encoded.dimension * np.dtype(encoded.dtype).itemsize
    at = np.array([file["vectors_at"] for file in files])
    starts, stops = (at + first * width).tolist(), (at + stop * width).tolist()
    ranges = list(zip((file["path"] for file in files), starts, stops, strict=True))
    contents = encoded.folder.read_ranges(ranges)
    return np.frombuffer(b"".join(contents), encoded.dtype).reshape(-1, encoded.dimension)
