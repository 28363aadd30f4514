"""Tell whether a TSV file is quoted: in BEIR's, quotes are text; csv writers and pandas quote fields that hold some."""

import codecs
import re
from collections.abc import Iterator
from typing import IO, Literal

import numpy as np

from operators.documents.sources import SourceFile
from operators.errors import InputError, shown

BLOCK = 1 << 20
LONGEST_ROW = 1 << 24  # bytes, of CSV and TSV

# A field that is quoted as csv writers do it: from one end of a line or field to the other, quotes in it doubled.
_QUOTED = re.compile(rb'(?:(?<=[\t\r\n])|\A)"([^"]*+(?:""[^"]*+)*+)"(?=[\t\r\n]|\Z)')
_OPEN = re.compile(rb'(?:(?<=[\t\r\n])|\A)"[^"]*+(?:""[^"]*+)*+\Z')
_LINE_END = re.compile(rb"\r\n|\n|\r")
_MARK = b"\xef\xbb\xbf"

Evidence = Literal["none", "quoted", "plain", "unclear", "unfinished"]


def tsv_blocks(file: SourceFile, stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Cut a TSV file into blocks of whole rows, each with whether its fields are quoted: never and then always.

    Raises:
        InputError: a row longer than LONGEST_ROW, a quoted field that does not end, and quotes that can be read in two
            ways, or in one way here and in the other further on.
    """
    quoted = {"auto": None, "none": False, "minimal": True}[file.quoting]
    header, left, seen = b"", b"", b""
    is_utf8 = Utf8Check(file)
    while True:
        more = stream.read(BLOCK)
        is_utf8(more)
        left += more
        if not left:
            return
        if not header and left.startswith(_MARK):
            left = left.removeprefix(_MARK)
        size = whole_rows(left, quoted=quoted) if more else len(left)
        evidence, field = evidence_in(left[:size], header) if quoted is not False else ("none", b"")
        if more and (not size or evidence == "unfinished"):
            if len(left) >= LONGEST_ROW:
                raise InputError(f"{file.uri}: a row is longer than {LONGEST_ROW >> 20} MiB. {_remedy(file)}")
            continue
        if evidence == "unfinished":
            evidence = "plain" if quoted is None and not (_QUOTED.search(left) or b'""' in left) else "unclear"
        if evidence == "unclear" or (evidence == "plain" and quoted) or (evidence == "quoted" and seen):
            raise _unclear(file, seen or field)
        if quoted is None:
            quoted = {"plain": False, "quoted": True}.get(evidence)
            seen = seen or field if quoted is None else b""
        header = header or header_of(left)
        yield left[:size], bool(quoted)
        left = left[size:]


class Utf8Check:
    """Look through a file, block by block, for bytes that are not UTF-8: what reads CSV names no place."""

    def __init__(self, file: SourceFile) -> None:
        self.file, self.line = file, 1
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def __call__(self, block: bytes) -> None:
        """Look through the next block; one without bytes is the end.

        Raises:
            InputError: it has such a byte; the message names the line.
        """
        try:
            self.decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = self.line + error.object.count(b"\n", 0, error.start)
            byte = f"0x{error.object[error.start]:02x}"
            raise InputError(
                f"{self.file.uri}, line {line}: the byte {byte} is not UTF-8. Write the file as UTF-8."
            ) from error
        self.line += block.count(b"\n")


def evidence_in(block: bytes, header: bytes) -> tuple[Evidence, bytes]:
    """Tell what whole lines of a TSV file show about its quotes, with the field that shows it.

    Args:
        block: lines, from the beginning of one; the last may be cut, but only inside a quoted field.
        header: the header line; none where the block begins with it.

    Returns:
        `quoted`: fields are quoted where a writer has to, with their quotes doubled (or the header is quoted, as all
        fields are then). `plain`: a quote stands where no writer leaves one. `unclear`: a field stands in quotes for a
        comma, as spreadsheets and people write it, or all lines are right with and without quoting. `unfinished`: a
        quoted field goes on after the block. `none`: no quotes, or fields in quotes that no writer has to quote.
    """
    if b'"' not in block:
        return "none", b""
    names = (header or header_of(block)).split(b"\t")
    if all(len(name) > 1 and name[:1] == name[-1:] == b'"' for name in names):
        return _rest_of(block) or ("quoted", names[0])
    without = _rest_of(block)
    if without is not None:
        return without
    fields = [match.group(1) for match in _QUOTED.finditer(block)]
    if any(b'"' in field or not field for field in fields):
        return "quoted", next(field for field in fields if b'"' in field or not field)
    spread = next((field for field in fields if re.search(rb"[\t\r\n]", field)), None)
    if spread is not None:
        lines = [line for line in _LINE_END.split(block) if line]
        even = all(line.count(b"\t") == len(names) - 1 for line in lines)
        return ("unclear" if even else "quoted"), spread
    with_comma = next((field for field in fields if b"," in field), None)
    return ("none", fields[0]) if with_comma is None else ("unclear", with_comma)


def header_of(block: bytes) -> bytes:
    """Return the first line of a block."""
    return _LINE_END.split(block, maxsplit=1)[0]


def _rest_of(block: bytes) -> tuple[Evidence, bytes] | None:
    """Tell what quotes outside of properly quoted fields show."""
    rest = _QUOTED.sub(b"", block)
    if b'"' not in rest:
        return None
    if _OPEN.search(rest):
        return "unfinished", b""
    return "plain", next(line for line in _LINE_END.split(rest) if b'"' in line)


def whole_rows(block: bytes, *, quoted: bool | None) -> int:
    """Return how many bytes of a block are whole rows."""
    if not quoted:
        return max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
    letters = np.frombuffer(block, dtype=np.uint8)
    outside = np.cumsum(letters == ord('"')) % 2 == 0
    ends = np.flatnonzero(outside & ((letters == ord("\n")) | (letters == ord("\r"))))
    return int(ends[-1]) + 1 if len(ends) else 0


def _unclear(file: SourceFile, field: bytes) -> InputError:
    return InputError(
        f"{file.uri}: its quotes can be read as text or as quoting, see {shown(field.decode(errors='replace'))}. "
        f"{_remedy(file)}"
    )


def _remedy(file: SourceFile) -> str:
    return f"Set {file.section}.{file.kind}.quoting to none (quotes are text) or minimal (quoted fields)."
