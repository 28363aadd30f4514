"""Which metadata the rows of a source may have, as far as the beginnings of its files tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from operators.documents.rows import kept_columns
from operators.documents.sources import SourceFile

# BEIR keeps its extra columns in an object of this name: they become metadata of their own names.
_NESTED = "metadata"


@dataclass(frozen=True)
class KnownMetadata:
    """The metadata of documents, or of queries.

    Attributes:
        kinds: name -> the type that its values have in JSON; None where that is not known.
        left_out: the columns that `metadata` of the source leaves out.
        is_complete: no row has any other metadata.
    """

    kinds: Mapping[str, pa.DataType | None] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    is_complete: bool = True


def known_metadata(
    file: SourceFile, names: Sequence[str], roles: Mapping[str, str], schema: pa.Schema | None
) -> KnownMetadata:
    """Return what a file shows: its schema all, its header the names, some rows of JSON those that come first.

    Args:
        file: which one.
        names: of the columns that were found.
        roles: role -> column.
        schema: of a Parquet file, where it is at hand.
    """
    kept, nested = kept_columns(file, names, roles), False
    if file.format in {"csv", "tsv"}:
        kinds: dict[str, pa.DataType | None] = dict.fromkeys(kept, pa.string())
    elif schema is not None:
        kinds = {name: _kind_in_json(schema.field(name).type) for name in kept}
        inner = schema.field(_NESTED).type if _NESTED in kept else None
        if inner is not None and pa.types.is_struct(inner):
            kinds |= {one.name: kinds.get(one.name, _kind_in_json(one.type)) for one in inner}
    else:
        kinds, nested = dict.fromkeys(kept), _NESTED in kept
    if file.format == "jsonl":
        listed = () if file.metadata == "all" else file.metadata
        kinds |= dict.fromkeys(listed)
        nested = file.metadata == "all" or _NESTED in listed
    left_out = frozenset(names) - {*kept, *roles.values()}
    return KnownMetadata(kinds, left_out, is_complete=not nested)


def together(files: Sequence[KnownMetadata]) -> KnownMetadata:
    """Return what several files of one source show together: a type where all that have the column agree."""
    kinds: dict[str, pa.DataType | None] = {}
    for one in files:
        kinds |= {name: kind if kinds.get(name, kind) == kind else None for name, kind in one.kinds.items()}
    left_out = frozenset(name for one in files for name in one.left_out)
    return KnownMetadata(kinds, left_out, all(one.is_complete for one in files))


def _kind_in_json(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that values of a column have as metadata; nested types stay as they are."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return kind
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    is_unknown = pa.types.is_null(kind) or isinstance(kind, pa.BaseExtensionType)
    return None if is_unknown else pa.string()
