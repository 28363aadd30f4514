"""TSV: quotes are text in BEIR's files and mark fields in those of csv writers; the file tells which, or is refused."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from operators.documents import quoting
from operators.documents.read import read
from operators.errors import InputError
from tests.unit.operators.documents.files import file_of

Table = list[tuple[str, str, str]]
HEADER = ("id", "text", "note")
ANY_CELL = st.text(st.sampled_from('ab ,"\t\n\r\u00e9'), max_size=8)
# As people write quotes: in words and around them, seldom around a comma.
PLAIN_CELL = st.sampled_from(
    ["", "a", 'a 5" disk', '"hello"', 'say "hi" to', 'the "x" and "y"', '"a" and', "b, c", 'to "b"']
)


def _tables(cells: st.SearchStrategy[str]) -> st.SearchStrategy[Table]:
    rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=12)
    return rows.map(lambda texts: [(f"d{i}", text, note) for i, (text, note) in enumerate(texts)])


def _csv(table: Table, quote: int) -> bytes:
    written = io.StringIO()
    csv.writer(written, delimiter="\t", quoting=quote).writerows([HEADER, *table])  # type: ignore[arg-type]
    return written.getvalue().encode()


def _pandas(table: Table, quote: int) -> bytes:
    frame = pd.DataFrame(table, columns=list(HEADER))
    return str(frame.to_csv(sep="\t", index=False, quoting=quote)).encode()  # type: ignore[call-overload]


def _plain(table: Table) -> bytes:
    return "".join("\t".join(row) + "\n" for row in (HEADER, *table)).encode()


def _rows(path: Path, content: bytes, **config: str) -> Table:
    path.write_bytes(content)
    columns = {"title": "note"}
    tables = list(read(file_of(path, columns=columns, **config)))
    rows = [row for table in tables for row in table.to_pylist()]
    return [(row["doc_id"], row["text"] or "", row["title"] or "") for row in rows]


QUOTED = pytest.mark.parametrize("write", [_csv, _pandas])
QUOTINGS = pytest.mark.parametrize("quote", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])


@QUOTED
@QUOTINGS
@given(table=_tables(ANY_CELL))
def test_what_csv_writers_quote_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[[Table, int], bytes], quote: int, table: Table
) -> None:
    path = tmp_path_factory.mktemp("quoted") / "x.tsv"
    if write is _pandas and quote == csv.QUOTE_MINIMAL:  # pandas leaves a bare carriage return without quotes
        table = [(row[0], row[1].replace("\r", " "), row[2].replace("\r", " ")) for row in table]
    assert _rows(path, write(table, quote), quoting="minimal") == table
    try:
        found = _rows(path, write(table, quote))
    except InputError as refused:
        found = _asks_for_quoting(refused, table)
    assert found == table


def _asks_for_quoting(refused: InputError, table: Table) -> Table:
    assert "Set data.corpus.quoting to none" in str(refused)
    return table


@QUOTED
@QUOTINGS
@given(table=_tables(st.sampled_from(["a", 'say "hi"', "one\ttwo", "one\ntwo", "a, b", '"x"', ""])))
@example(table=[("d0", 'say "hi"', "")])
def test_quoted_words_need_no_key(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[[Table, int], bytes], quote: int, table: Table
) -> None:
    path = tmp_path_factory.mktemp("quoted") / "x.tsv"
    if 'say "hi"' in {cell for row in table for cell in row}:
        assert _rows(path, write(table, quote)) == table


@given(_tables(st.text(st.characters(exclude_categories=["C"]), max_size=8)))
@example([("d0", '"', ""), ("d1", '""', "x"), ("d2", '"a ""b"""', '"')])
def test_quotes_are_text_where_the_configuration_says_so(
    tmp_path_factory: pytest.TempPathFactory, table: Table
) -> None:
    assert _rows(tmp_path_factory.mktemp("plain") / "x.tsv", _plain(table), quoting="none") == table


@given(_tables(PLAIN_CELL))
def test_quotes_that_no_writer_leaves_are_text(tmp_path_factory: pytest.TempPathFactory, table: Table) -> None:
    assert _rows(tmp_path_factory.mktemp("plain") / "x.tsv", _plain(table)) == table


@given(_tables(st.sampled_from(["a", '"b, c"', '"', '"d', 'e"', '5" disk', '"f"'])))
def test_plain_tsv_is_read_as_it_is_or_the_key_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, table: Table
) -> None:
    try:
        found = _rows(tmp_path_factory.mktemp("plain") / "x.tsv", _plain(table))
    except InputError as refused:
        found = _asks_for_quoting(refused, table)
    assert found == table


@pytest.mark.parametrize("size", [16, 23, 64, 1000])
@pytest.mark.parametrize("write", [_plain, lambda table: _csv(table, csv.QUOTE_MINIMAL)])
def test_blocks_end_between_rows_wherever_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, write: Callable[[Table], bytes]
) -> None:
    monkeypatch.setattr(quoting, "BLOCK", size)
    cells = ['5" disk', "a"] if write is _plain else ['5" disk', "a\tb", "one\n\ntwo", "x"]
    table = [(f"d{i}", cells[i % len(cells)], cells[i // 2 % len(cells)]) for i in range(200)]
    assert _rows(tmp_path / "x.tsv", write(table)) == table
    with_mark = b"\xef\xbb\xbf" + write(table).replace(b"\r\n", b"\n")
    assert _rows(tmp_path / "x.tsv", with_mark) == table


def test_a_file_that_is_quoted_here_and_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quoting, "BLOCK", 40)
    for first, later in (('"say ""hi"""', '5" disk'), ('"hi"', '"say ""hi"""')):
        rows = [first, *["filler"] * 20, later]
        content = _plain([(f"d{i}", text, "") for i, text in enumerate(rows)])
        with pytest.raises(InputError, match=r"Set data\.corpus\.quoting to none"):
            _rows(tmp_path / "x.tsv", content)


@pytest.mark.parametrize("config", [{}, {"quoting": "minimal"}, {"quoting": "none"}])
def test_a_row_that_has_no_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, str]
) -> None:
    monkeypatch.setattr(quoting, "LONGEST_ROW", 1 << 16)
    monkeypatch.setattr(quoting, "BLOCK", 1 << 12)
    for text in ("x" * (1 << 17), '"' + "x\n" * (1 << 17)):
        if text[0] == "x" or config.get("quoting") != "none":
            with pytest.raises(InputError, match=r"x\.tsv"):
                _rows(tmp_path / "x.tsv", _plain([("d0", text, "")]), **config)


@pytest.mark.parametrize("quote", ["none", "minimal"])
def test_the_key_holds_for_csv_too(tmp_path: Path, quote: str) -> None:
    (tmp_path / "x.csv").write_text('id,text,note\n1,"a ""b""",c\n')
    expected = {"none": '"a ""b"""', "minimal": 'a "b"'}[quote]
    (row,) = (row for table in read(file_of(tmp_path / "x.csv", quoting=quote)) for row in table.to_pylist())
    assert row["text"] == expected
