"""Take the files of each format apart into rows: JSON lines, Parquet, CSV and TSV."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from operators.documents.columns import resolve_columns, row_that_fails, taken_by
from operators.documents.open import DAMAGE, damaged, opened
from operators.documents.quoting import LONGEST_ROW, Utf8Check, tsv_blocks
from operators.documents.sources import SourceFile
from operators.errors import InputError, listed, shown

ROWS_AT_ONCE = 8192
# After the last row of a CSV file: swallowed where a quoted field of the file does not end, else a row of one field.
_END = "\x01end of the file\x01"


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: the columns that have a role, and for each row what the other columns that are kept hold."""

    size: int
    names: Sequence[str]  # of all columns, also those that are left out
    roles: Mapping[str, str]  # role -> column
    columns: Mapping[str, pa.Array | list[Any]]  # of JSON: Python's values
    others: Sequence[Mapping[str, Any]]  # empty where no other column is kept


def rows_of(file: SourceFile) -> Iterator[Rows]:
    """Yield the rows of one file, some at a time and never none. A file that is empty has no rows.

    Raises:
        InputError: the file cannot be opened or is damaged, a row does not parse, or a needed column is missing.
    """
    with opened(file) as stream:
        yield from rows_in(file, stream)


def rows_in(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    """Yield the rows in the bytes of a file without compression, as `rows_of` does.

    Raises:
        InputError: as `rows_of` does; what Arrow raises for bytes that make no sense stays as it is.
    """
    read = {"jsonl": _json_rows, "parquet": _parquet_rows, "csv": _csv_rows, "tsv": _tsv_rows}[file.format]
    yield from read(file, stream)


def _json_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    # Arrow's own JSON reader would make a struct field of every key it meets in a nested object, and names no row.
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(stream, start=1):
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not content.strip():
            continue
        row = _object(f"{file.uri}, line {number}", content)
        rows.append(row)
        names.update(dict.fromkeys(row))
        if len(rows) == ROWS_AT_ONCE:
            yield _of_objects(file, rows, list(names))
            rows = []
    if rows:
        yield _of_objects(file, rows, list(names))


def _object(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = _DECODER.decode(line.decode())
        if b"\\ud" in line or b"\\uD" in line:  # a surrogate that has no partner is no character
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: the byte 0x{line[error.start]:02x} is not UTF-8. Write the file as UTF-8."
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: the escape {shown(error.object[error.start])} is half a character.") from error
    except RecursionError as error:
        raise InputError(f"{place}: lists or objects are nested too deeply. Make it flat.") from error
    except ValueError as error:
        raise InputError(f"{place}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise InputError(f"{place}: a JSON object is wanted, one a line.")
    return row


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_once_each)


def _of_objects(file: SourceFile, rows: list[dict[str, Any]], names: list[str]) -> Rows:
    roles = resolve_columns(file, names)
    columns = {name: [row.get(name) for row in rows] for name in roles.values()}
    kept = set(_kept(file, names, roles))
    others = [{name: value for name, value in row.items() if name in kept} for row in rows] if kept else []
    return Rows(len(rows), names, roles, columns, others)


def _parquet_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    if not stream.seek(0, io.SEEK_END):
        return
    parquet = pq.ParquetFile(stream, page_checksum_verification=True)
    first_row, expected = 0, parquet.metadata.num_rows
    names = parquet.schema_arrow.names
    roles = roles_of(file, names) if expected else {}
    wanted = {*roles.values(), *_kept(file, names, roles)}
    # A struct a{b} and a column "a.b" are the same to Arrow here: what comes as well is left out later.
    batches = parquet.iter_batches(ROWS_AT_ONCE, columns=None if len(wanted) == len(names) else sorted(wanted))
    while True:
        try:
            batch = next(batches, None)
        except DAMAGE as error:
            raise damaged(file, error, first_row) from error
        if batch is None:
            break
        if batch.num_rows:
            yield _of_table(file, names, _valid(file, pa.Table.from_batches([batch]), first_row), first_row)
        first_row += batch.num_rows
    if first_row != expected:
        raise InputError(f"{file.uri}: {first_row} rows were found where its footer says {expected}: it is damaged.")


def _valid(file: SourceFile, table: pa.Table, first_row: int) -> pa.Table:
    """Check what Arrow takes from a file as it is: that text is UTF-8, and that lists lie within their values."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        for name, column in zip(table.column_names, table.columns, strict=True):
            row = row_that_fails(column, lambda one: one.validate(full=True))
            if row is not None:
                place = f"{file.uri}, row {first_row + row + 1}, column {name!r}"
                raise InputError(f"{place}: {error}. Write the file again, its texts as UTF-8.") from error
        raise
    return table


def _csv_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    invalid = _Invalid(file)
    quoted = file.quoting != "none"
    ended = io.BufferedReader(_WithEnd(file, stream), LONGEST_ROW)
    first_row = 0
    try:
        reader = pa.csv.open_csv(
            ended,
            read_options=pa.csv.ReadOptions(block_size=LONGEST_ROW, use_threads=False),
            convert_options=_AS_TEXT,
            parse_options=_parsing(",", quoted, invalid),
        )
        names = reader.schema.names
        if names == [_END]:
            return
        for batch in reader:
            if batch.num_rows:
                yield _of_table(file, names, pa.Table.from_batches([batch]), first_row)
            first_row += batch.num_rows
            invalid.first_row = first_row
    except pa.ArrowInvalid as error:
        raise invalid.refusal(error) from error
    if not invalid.at_end:
        raise invalid.unclosed()


def _tsv_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    invalid = _Invalid(file)
    names: list[str] | None = None
    for block, quoted in tsv_blocks(file, stream):
        if names is None and not block.strip(b"\r\n"):
            continue
        if not block.endswith((b"\n", b"\r")):
            block += b"\n"  # noqa: PLW2901 - Arrow does not find a header that no line end follows
        reading = pa.csv.ReadOptions(block_size=len(block) + 1, use_threads=False, column_names=names)
        try:
            table = pa.csv.read_csv(pa.BufferReader(block), reading, _parsing("\t", quoted, invalid), _AS_TEXT)
        except pa.ArrowInvalid as error:
            raise invalid.refusal(error) from error
        names = table.column_names
        if table.num_rows:
            yield _of_table(file, names, table, invalid.first_row)
        invalid.first_row += table.num_rows


# Types are guessed from the first block alone: ids that look like numbers there would fail later. And of what Arrow
# takes for null, "NA" and "nan" are words. UTF-8 is checked before.
_AS_TEXT = pa.csv.ConvertOptions(
    default_column_type=pa.string(), check_utf8=False, strings_can_be_null=True, null_values=[""]
)


def _parsing(delimiter: str, quoted: bool, invalid: "_Invalid") -> pa.csv.ParseOptions:
    return pa.csv.ParseOptions(
        delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted, invalid_row_handler=invalid
    )


class _WithEnd(io.RawIOBase):
    """A file, and after its last row the row _END."""

    def __init__(self, file: SourceFile, stream: IO[bytes]) -> None:
        self.stream, self.is_utf8 = stream, Utf8Check(file)
        self.left: bytes | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer
        found = self.stream.read(len(buffer)) if self.left is None else b""
        if self.left is None:
            self.is_utf8(found)
        if not found:
            self.left = f"\n{_END}\n".encode() if self.left is None else self.left
            found, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(found)] = found
        return len(found)


class _Invalid:
    """Keep the first row that has another number of fields than the header, for the message."""

    def __init__(self, file: SourceFile) -> None:
        self.file, self.first_row = file, 0
        self.at_end = False
        self.row: pa.csv.InvalidRow | None = None

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        if row.text == _END:
            self.at_end = True
            return "skip"
        self.row = self.row or row
        return "error"

    def unclosed(self) -> InputError:
        """Return what is wrong with a file that ends within a field."""
        place = f"{self.file.uri}, row {max(self.first_row, 1)}"
        return InputError(f"{place}: a quote opens a field and nothing closes it. Is the file complete?")

    def refusal(self, error: Exception) -> InputError:
        """Return what is wrong with the file."""
        if self.row is not None and _END in self.row.text:
            return self.unclosed()
        if self.row is None:
            return InputError(f"{self.file.uri}: {error}. A header line is wanted, and the same columns in each row.")
        row = self.row
        number = self.first_row + row.number - (self.first_row == 0) if self.file.format == "tsv" else row.number - 1
        return InputError(
            f"{self.file.uri}, row {number}: {row.actual_columns} fields where the header has {row.expected_columns}: "
            f"{shown(row.text)}. Mend the row: quote fields that hold the delimiter, and check the header line."
        )


def roles_of(file: SourceFile, names: list[str]) -> dict[str, str]:
    """Return role -> column for a file that is a table.

    Raises:
        InputError: two columns have one name, or a needed column is not there.
    """
    if len(set(names)) < len(names):
        raise InputError(f"{file.uri}: two columns have one name. Its columns are {listed(names)}.")
    return resolve_columns(file, names)


def _of_table(file: SourceFile, names: list[str], table: pa.Table, first_row: int) -> Rows:
    roles = roles_of(file, names)
    columns = {name: _plain(table.column(name).combine_chunks()) for name in roles.values()}
    others: dict[str, Sequence[Any]] = {
        name: _values(f"{file.uri}, from row {first_row + 1}, column {name!r}", table.column(name))
        for name in _kept(file, names, roles)
    }
    rows = [dict(zip(others, values, strict=True)) for values in zip(*others.values(), strict=True)]
    return Rows(table.num_rows, names, roles, columns, rows)


def _plain(column: pa.Array) -> pa.Array:
    """Return a column as a plain array: without an encoding or an extension around it."""
    if isinstance(column.type, pa.BaseExtensionType):
        is_uuid = column.type.extension_name == "arrow.uuid"
        column = pa.array(map(_uuid, column.to_pylist()), pa.string()) if is_uuid else column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def _uuid(value: object) -> str | None:
    return None if value is None else str(value)


def _values(place: str, column: pa.ChunkedArray) -> Sequence[Any]:
    """Return Python's values of a column; as text where Python has none, such as for years after 9999."""
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, LookupError):
        try:
            values = column.cast(pa.string()).to_pylist()
        except pa.ArrowException as error:
            raise InputError(f"{place}: {column.type} cannot be kept as metadata. Write it as text.") from error
    return values


def _kept(file: SourceFile, names: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Return the columns that become metadata."""
    taken = taken_by(roles)
    return [name for name in names if name not in taken and (file.metadata == "all" or name in file.metadata)]
