"""Find the column of each role, and turn it into ids, texts, lists of texts or scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.documents.sources import CONVENTIONS, OPTIONAL, SourceFile
from operators.errors import InputError, shown

IDS = {"doc_id", "query_id", "positive_id"}
LISTS = {"positive", "negative"}  # of pairs: a list is as many pairs
# Above, a float stands for several whole numbers.
_LARGEST_FLOAT_ID = 1 << 53


def resolve_columns(file: SourceFile, names: list[str]) -> dict[str, str]:
    """Return role -> column name for a file with these columns.

    Raises:
        InputError: a column that the configuration names, or that is needed, is not there.
    """
    needed: Mapping[str, tuple[str, ...]] = CONVENTIONS[file.kind]
    resolved: dict[str, str] = {}
    for role, usual in {**needed, **OPTIONAL[file.kind]}.items():
        wanted = file.columns.get(role)
        found = next((name for name in ([wanted] if wanted else usual) if name in names), None)
        if found is not None:
            resolved[role] = found
        elif wanted or role in needed:
            raise _missing(file, role, [wanted] if wanted else usual, names)
    if file.kind == "judgements":
        _score_or_label(file, resolved)
        if file.of_beir and not {"score", "label"} & resolved.keys():
            raise _missing(file, "score", ["score"], names)
    return resolved


def taken_by(roles: Mapping[str, str]) -> set[str]:
    """Return the columns that are no metadata. The title becomes a part of the text; metadata keeps it apart."""
    return {name for role, name in roles.items() if role != "title"}


def shows_its_role(kind: pa.DataType, role: str) -> bool:
    """Tell whether a type alone shows that a column fits a role. Values may still be missing, or not finite."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if role == "vector":
        return _is_list(kind) and bool(pa.types.is_floating(kind.value_type))
    if role in {"score", "label"}:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return _is_text(kind) or _is_bytes(kind) or (role in IDS and bool(pa.types.is_integer(kind)))


def _missing(file: SourceFile, role: str, usual: Sequence[str], names: list[str]) -> InputError:
    beir = {
        "corpus": 'In a BEIR folder each line has the keys "_id", "title" and "text".',
        "queries": 'In a BEIR folder each line has the keys "_id" and "text".',
        "judgements": "In a BEIR folder its first line is: query-id, corpus-id, score, with tabs between them.",
    }
    remedy = beir[file.kind] if file.of_beir else f"Name the right one in {file.section}.{file.kind}.columns.{role}."
    return InputError(
        f"{file.uri}: no column {' or '.join(map(repr, usual))} for the {role}. "
        f"Its columns are {_names(names)}. {remedy}"
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(name if name.isidentifier() else shown(name, 40) for name in names[:8]) + (
        ", ..." if len(names) > 8 else ""
    )


def _score_or_label(file: SourceFile, resolved: dict[str, str]) -> None:
    """Read `relevance` and `rel` as the score beside a label, and as the label (of numbers or words) without one."""
    score, label = resolved.get("score"), resolved.get("label")
    if score is None or label is None:
        return
    if score == label:
        del resolved["label" if "score" in file.columns else "score"]
    elif label != "label" and "label" not in file.columns:
        del resolved["label"]


def column_of(file: SourceFile, raw: pa.Array | list[Any], role: str, name: str, first_row: int) -> pa.Array:
    """Return one column for its role: ids, texts and labels as strings, scores as float32, pairs maybe as lists.

    Args:
        file: where it is from, for messages.
        raw: the column; of JSON, a list of Python's values.
        role: what it is for; not `vector`.
        name: of the column.
        first_row: how many rows of the file come before it.

    Raises:
        InputError: values of another kind, missing ids, queries and positives, and scores that are missing or not
            finite. The message names the row.
    """
    if role in IDS:
        column = _ids(file, raw, role, name, first_row)
    elif role == "score":
        return _scores(file, _array(file, raw, role, name, first_row), name, first_row)
    else:
        column = _texts(file, _array(file, raw, role, name, first_row), role, name, first_row)
    if role in IDS or role in {"query", "positive"}:
        _refuse_missing(file, column, role, name, first_row)
    return column


def row_that_fails(column: pa.Array | pa.ChunkedArray, attempt: Callable[[Any], object]) -> int | None:
    """Return the first row with which an attempt at one row fails in Arrow, or None. For messages: it is slow."""
    for row in range(len(column)):
        try:
            attempt(column.slice(row, 1))
        except (pa.ArrowException, OverflowError):
            return row
    return None


def _array(file: SourceFile, raw: pa.Array | list[Any], role: str, name: str, first_row: int) -> pa.Array:
    if not isinstance(raw, list):
        return raw
    try:
        return pa.array(raw)
    except (pa.ArrowException, OverflowError) as error:
        plain = {"score": (str, int, float), "label": (str, int, float)}.get(role, ())
        if plain and all(value is None or isinstance(value, plain) for value in raw):
            return pa.array([None if value is None else _label(value) for value in raw], pa.string())
        first = next(value for value in raw if value is not None)
        row = next((i for i, value in enumerate(raw) if value is not None and type(value) is not type(first)), 0)
        raise InputError(
            f"{file.uri}, from row {first_row + row + 1}: column {name!r} holds values of several kinds, such as "
            f"{shown(first, 40)} and {shown(raw[row], 40)} ({error}). Write them all in one way."
        ) from error


def _label(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ids(file: SourceFile, raw: pa.Array | list[Any], role: str, name: str, first_row: int) -> pa.Array:
    """Return ids as text: whole numbers in digits, bytes of a fixed size in hexadecimal."""
    place = f"{file.uri}, row "
    if isinstance(raw, list):
        try:
            array = pa.array(raw)
        except (pa.ArrowException, OverflowError):
            texts = [_id_text(value) for value in raw]
            row = next((i for i, text in enumerate(texts) if text is None and raw[i] is not None), None)
            if row is not None:
                raise _no_id(f"{place}{first_row + row + 1}", role, name, raw[row]) from None
            return pa.array(texts, pa.string())
        raw = array
    kind = raw.type
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([None if one is None else one.hex() for one in raw.to_pylist()], pa.string())
    if pa.types.is_floating(kind):
        values = raw.cast(pa.float64()).to_numpy(zero_copy_only=False)
        row = _first(raw.is_valid().to_numpy(zero_copy_only=False) & ~_is_whole(values) & ~np.isnan(values))
        if row is not None:
            raise _no_id(f"{place}{first_row + row + 1}", role, name, raw[row].as_py())
        return pc.if_else(pc.is_nan(raw), None, raw).cast(pa.int64()).cast(pa.string())
    if pa.types.is_boolean(kind):
        raise _no_id(f"{place}{first_row + 1}", role, name, raw[0].as_py())
    if pa.types.is_nested(kind):
        raise _nested(file, kind, role, name)
    return _as_text(file, raw, role, name, first_row)


def _id_text(value: object) -> str | None:
    if isinstance(value, float) and _is_whole(np.array([value]))[0]:
        return str(int(value))
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _is_whole(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray((values == np.floor(values)) & (np.abs(values) <= _LARGEST_FLOAT_ID))


def _no_id(place: str, role: str, name: str, value: object) -> InputError:
    return InputError(
        f"{place}: {shown(value)} is no {role} (column {name!r}). Ids are texts, whole numbers or bytes of one size; "
        f"write them as text."
    )


def _texts(file: SourceFile, column: pa.Array, role: str, name: str, first_row: int) -> pa.Array:
    kind = column.type
    if _is_list(kind) and role in LISTS:
        if not (_is_text(kind.value_type) or pa.types.is_null(kind.value_type) or _is_categories(kind.value_type)):
            raise InputError(f"{file.uri}: column {name!r} holds {kind}, and one list of texts a row is wanted.")
        return column.cast(pa.list_(pa.string()))
    if pa.types.is_nested(kind):
        raise _nested(file, kind, role, name)
    if role != "label" and not (_is_text(kind) or _is_bytes(kind) or pa.types.is_null(kind)):
        raise InputError(f"{file.uri}: column {name!r} holds {kind} where the {role} needs text.")
    return _as_text(file, column, role, name, first_row)


def _as_text(file: SourceFile, column: pa.Array, role: str, name: str, first_row: int) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"{file.uri}: column {name!r} holds {column.type}, which is no {role}.") from error
    except pa.ArrowInvalid as error:
        row = row_that_fails(column, lambda one: one.cast(pa.string()))
        place = f"{file.uri}, row {first_row + (row or 0) + 1}"
        hint = "Write ids that are bytes with a fixed size, or in hexadecimal." if role in IDS else "Write it as UTF-8."
        raise InputError(f"{place}: column {name!r} holds bytes that are not UTF-8 ({error}). {hint}") from error


def _nested(file: SourceFile, kind: pa.DataType, role: str, name: str) -> InputError:
    return InputError(
        f"{file.uri}: column {name!r} holds {shown(str(kind))[1:-1]} where the {role} needs one value per row. "
        f"Name another column in {file.section}.{file.kind}.columns.{role}, or spread the lists over rows."
    )


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in (*tests, pa.types.is_list_view, pa.types.is_large_list_view))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_categories(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind)) and _is_text(kind.value_type)


def _refuse_missing(file: SourceFile, column: pa.Array, role: str, name: str, first_row: int) -> None:
    missing = pc.is_null(column)
    if role in IDS:
        missing = pc.or_kleene(missing, pc.equal(column, ""))
    row = _first(missing.to_numpy(zero_copy_only=False))
    if row is not None:
        raise InputError(f"{file.uri}, row {first_row + row + 1}: no {role} (column {name!r}). Give every row one.")


def _scores(file: SourceFile, column: pa.Array, name: str, first_row: int) -> pa.Array:
    if pa.types.is_nested(column.type):
        raise _nested(file, column.type, "score", name)
    try:
        scores = column.cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = row_that_fails(column, lambda one: one.cast(pa.float32()))
        raise InputError(
            f"{file.uri}, row {first_row + (row or 0) + 1}: column {name!r} is no number ({error}). Correct it; if it "
            f"holds labels, name it in data.judgements.columns.label, and which are positive in data.positive_labels."
        ) from error
    row = _first(~np.isfinite(scores.to_numpy(zero_copy_only=False)))
    if row is not None:
        raise InputError(
            f"{file.uri}, row {first_row + row + 1}: column {name!r} has a score that is missing or not finite. "
            f"Give every row a number."
        )
    return scores


def _first(rows: np.ndarray) -> int | None:
    places = np.flatnonzero(rows)
    return int(places[0]) if len(places) else None
