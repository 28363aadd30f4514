"""Look at the beginning of source files, many at a time: what cannot be read is refused before the long work starts."""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from operators.documents.columns import shows_its_role, taken_by
from operators.documents.judgements import judged_by_labels, with_keys
from operators.documents.known import KnownMetadata, known_metadata, together
from operators.documents.open import DAMAGE, UNPACKERS, compression_of
from operators.documents.parse import rows_in, rows_of
from operators.documents.quoting import LONGEST_ROW, whole_rows
from operators.documents.read import columns_of
from operators.documents.rows import Rows, roles_of
from operators.documents.sources import SourceFile
from operators.errors import InputError, listed
from operators.storage import open_uri

FIRST_BYTES = 1 << 16  # of each file; more where no row or footer ends in them
GROWTH = 16
BYTES_AT_ONCE = 32 << 20
REQUESTS_AT_ONCE = 64
ENOUGH = 1 << 14  # of what was read, to look at where a row ends in it: JSON takes longer than the request


@dataclass(frozen=True)
class Seen:
    """What the beginning of a file shows: its columns, those with a role, metadata, and whether it has a row at all."""

    names: Sequence[str] = ()
    taken: frozenset[str] = frozenset()
    metadata: KnownMetadata = field(default_factory=KnownMetadata)
    has_rows: bool = True


# Too few bytes; or something is wrong, or can only be found by reading the file as the run does.
Unclear = Literal["too short", "doubtful"]


def check(files: Sequence[SourceFile], positive_labels: Sequence[str] = ()) -> Mapping[str, KnownMetadata]:
    """Look at the beginning of files, of Parquet at the footer alone, so that a wrong column is found early.

    Files without rows are let through, unless all of one kind are.

    Args:
        files: of any kinds and sources; the first that is wrong in this order is named.
        positive_labels: of the configuration; may be empty.

    Returns:
        Kind -> what metadata the rows of its files may have.

    Raises:
        InputError: as `read` does; the labels are words and none is said to be positive; no file of a kind has a row;
            a column that is to be kept is in no file, or has a role.
    """
    with_rows: dict[str, list[Seen]] = {file.kind: [] for file in files}
    for batch in _batches(files, BYTES_AT_ONCE // FIRST_BYTES):
        for file, found in zip(batch, _look(batch, FIRST_BYTES, positive_labels), strict=True):
            seen = _read_beginning(file, positive_labels) if isinstance(found, str) else found
            if seen.has_rows:
                with_rows[file.kind].append(seen)
    for kind, some in with_rows.items():
        of_kind = [file for file in files if file.kind == kind]
        if not some:
            every = "the file has" if len(of_kind) == 1 else f"this file and {len(of_kind) - 1} more have"
            raise InputError(f"{of_kind[0].uri}: {every} no rows. Give at least one file with rows.")
        _check_metadata(of_kind, some)
    return {kind: together([one.metadata for one in some]) for kind, some in with_rows.items()}


def _check_metadata(files: Sequence[SourceFile], seen: Sequence[Seen]) -> None:
    """Check that the metadata that is wanted of all files of a kind is in some of them, and is nothing else."""
    wanted = () if files[0].metadata == "all" else files[0].metadata
    key = f"{files[0].section}.{files[0].kind}.metadata"
    taken = [name for name in wanted if any(name in one.taken for one in seen)]
    if taken:
        raise InputError(f"{key}: {listed(taken)} has a role, and is read anyway. Leave it out.")
    names = dict.fromkeys(name for one in seen for name in one.names)
    if not names.keys() >= set(wanted):  # rows of JSON may lack a key
        more = (next(rows_of(file), None) for file in files if file.format == "jsonl")
        names |= dict.fromkeys(next((rows.names for rows in more if rows is not None), ()))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InputError(
            f"{key}: the first rows of no file have {listed(unknown)}. Their columns are {listed(list(names))}."
        )


def _look(files: Sequence[SourceFile], size: int, positive_labels: Sequence[str]) -> list[Seen | Unclear]:
    """Look at `size` bytes of each file; at more of those of which these are too few."""
    parts = _parts(files, size)
    found = [_seen(file, part, positive_labels) for file, part in zip(files, parts, strict=True)]
    del parts
    short = [i for i, one in enumerate(found) if one == "too short"]
    if size * GROWTH > LONGEST_ROW:
        return found
    for some in _batches(short, max(BYTES_AT_ONCE // (size * GROWTH), 1)):
        for i, one in zip(some, _look([files[i] for i in some], size * GROWTH, positive_labels), strict=True):
            found[i] = one
    return found


def _parts(files: Sequence[SourceFile], size: int) -> list[bytes | None]:
    """Read the first bytes of each file, of Parquet the last, with many requests at once; None where that fails."""
    parts: list[bytes | None] = [None] * len(files)
    wanted: dict[int, list[_Range]] = {}
    systems: dict[int, Any] = {}
    for i, file in enumerate(files):
        parquet = file.format == "parquet"
        if file.size == 0 or (parquet and (file.size is None or compression_of(file) is not None)):
            continue
        fs, path = open_uri(file.uri, file.storage_options)
        systems[id(fs)] = fs
        end = size if file.size is None else file.size if parquet else min(size, file.size)
        wanted.setdefault(id(fs), []).append(_Range(i, path, max(end - size, 0), end))
    for key, ranges in wanted.items():
        for one, part in zip(ranges, _read(systems[key], ranges), strict=True):
            # A server of HTTP may send more than was asked for.
            if isinstance(part, bytes) and (files[one.file].size is None or len(part) == one.end - one.start):
                parts[one.file] = part[:size]
    return parts


@dataclass(frozen=True)
class _Range:
    file: int
    path: str
    start: int
    end: int


def _read(fs: Any, ranges: Sequence[_Range]) -> Sequence[bytes | Exception]:  # noqa: ANN401 - fsspec is untyped
    if fs.async_impl:
        paths, starts, ends = [one.path for one in ranges], [one.start for one in ranges], [one.end for one in ranges]
        found: Sequence[bytes | Exception] = fs.cat_ranges(paths, starts, ends, batch_size=REQUESTS_AT_ONCE)
        return found
    if isinstance(fs, LocalFileSystem):
        return [_read_one(fs, one) for one in ranges]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(partial(_read_one, fs), ranges))


def _read_one(fs: Any, wanted: _Range) -> bytes | Exception:  # noqa: ANN401 - fsspec is untyped
    try:
        with fs.open(wanted.path, "rb", block_size=wanted.end - wanted.start) as stream:
            stream.seek(wanted.start)
            part: bytes = stream.read(wanted.end - wanted.start)
            return part
    except Exception as error:  # the file is read again, and the fault is reported then
        return error


def _seen(file: SourceFile, part: bytes | None, positive_labels: Sequence[str]) -> Seen | Unclear:
    """Tell what some bytes of a file show."""
    if file.size == 0:
        return Seen(has_rows=False)
    if part is None:
        return "doubtful"
    try:
        if file.format == "parquet":
            return _footer(file, part, positive_labels)
        return _text(file, part, positive_labels)
    except (InputError, *DAMAGE):
        return "doubtful"


def _text(file: SourceFile, part: bytes, positive_labels: Sequence[str]) -> Seen | Unclear:
    """Tell what the first rows show: some of those that end in the first bytes, or else all."""
    ending = compression_of(file)
    if ending == "zip":
        return "doubtful"
    begin, is_all = (part, True) if ending is None else _unpacked(ending, part)
    is_all = is_all and len(part) == file.size
    for size in (ENOUGH, len(begin)):
        to_end = is_all and size >= len(begin)
        content = begin if to_end else begin[: _end_of_rows(file, begin[:size])]
        rows = next(rows_in(file, io.BytesIO(content)), None)
        if to_end or rows is not None:
            return _checked(file, rows, positive_labels)
    return "too short"


def _end_of_rows(file: SourceFile, begin: bytes) -> int:
    if file.format == "jsonl":
        return begin.rfind(b"\n") + 1
    quoted = {"auto": file.format == "csv", "none": False, "minimal": True}[file.quoting]
    return whole_rows(begin, quoted=quoted)


def _unpacked(ending: str, part: bytes) -> tuple[bytes, bool]:
    """Return what the first bytes of a compressed file hold, no more of it than there are of these, and if it ends."""
    stream = UNPACKERS[ending](io.BytesIO(part))
    begin = b""
    try:
        while len(begin) < max(len(part), FIRST_BYTES):
            piece = stream.read(ENOUGH)
            begin += piece
            if not piece:
                return begin, True
    except DAMAGE:  # it is cut short here, and maybe in the file
        pass
    return begin, False


def _footer(file: SourceFile, end: bytes, positive_labels: Sequence[str]) -> Seen | Unclear:
    """Tell what the last bytes of a Parquet file show: no data is read where the types of the columns show enough."""
    needed = int.from_bytes(end[-8:-4], "little") + 8
    if end[-4:] != b"PAR1" or needed > (file.size or 0):
        return "doubtful"
    if needed > len(end):
        return "too short"
    parquet = pq.ParquetFile(pa.BufferReader(end))
    if not parquet.metadata.num_rows:
        return Seen(has_rows=False)
    schema = parquet.schema_arrow
    roles = roles_of(file, schema.names)
    # Beside a score, and where it is said which of them are positive, any text is a label.
    any_label = {"label"} if "score" in roles or positive_labels else set()
    plain = all(shows_its_role(schema.field(name).type, role) for role, name in roles.items() if role not in any_label)
    return _of_roles(file, schema.names, roles, schema) if plain else "doubtful"


def _checked(file: SourceFile, rows: Rows | None, positive_labels: Sequence[str]) -> Seen:
    """Check some rows."""
    if rows is None:
        return Seen(has_rows=False)
    columns = columns_of(file, rows)
    if file.kind == "judgements" and not positive_labels:
        judged_by_labels(file.uri, with_keys(pa.table(columns)), (), file.section)
    return _of_roles(file, rows.names, rows.roles)


def _of_roles(
    file: SourceFile, names: Sequence[str], roles: Mapping[str, str], schema: pa.Schema | None = None
) -> Seen:
    return Seen(names, frozenset(taken_by(roles)), known_metadata(file, names, roles, schema))


def _read_beginning(file: SourceFile, positive_labels: Sequence[str]) -> Seen:
    """Read the first rows as the run does, which says what is wrong with them and where."""
    return _checked(file, next(rows_of(file), None), positive_labels)


def _batches(everything: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (everything[at : at + size] for at in range(0, len(everything), size))
