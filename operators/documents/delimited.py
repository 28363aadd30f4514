"""Take CSV and TSV files apart into rows."""

import io
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv

from operators.documents.quoting import LONGEST_ROW, Utf8Check, tsv_blocks
from operators.documents.rows import Rows, rows_of_table
from operators.documents.sources import SourceFile
from operators.errors import InputError, shown

# After the last row of a CSV file: swallowed where a quoted field of the file does not end, else a row of one field.
_END = "\x01end of the file\x01"


def csv_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    """Yield the rows of a CSV file, some at a time and never none.

    Raises:
        InputError: a quote that nothing closes, a row that has another number of fields than the header.
    """
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
                yield rows_of_table(file, names, pa.Table.from_batches([batch]), first_row)
            first_row += batch.num_rows
            invalid.first_row = first_row
    except pa.ArrowInvalid as error:
        raise invalid.refusal(error) from error
    if not invalid.at_end:
        raise invalid.unclosed()


def tsv_rows(file: SourceFile, stream: IO[bytes]) -> Iterator[Rows]:
    """Yield the rows of a TSV file, some at a time and never none.

    Raises:
        InputError: as `csv_rows` does, or quotes that may be text or not.
    """
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
            yield rows_of_table(file, names, table, invalid.first_row)
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
