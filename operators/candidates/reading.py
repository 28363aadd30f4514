"""What of metadata the configuration reads, and the check that it can be there: before the long work starts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from operators.candidates.rule import Rule
from operators.documents.known import KnownMetadata
from operators.errors import InputError, did_you_mean, listed, placed, shown

Columns = Mapping[str, pa.Array]


def _anything(documents: Columns, queries: Columns) -> None:
    """Take values of any type."""


@dataclass(frozen=True)
class Reading:
    """What one key of the configuration reads.

    Attributes:
        place: the key, such as `proposers.frequency.by`.
        documents: the names of metadata of documents.
        queries: the names of metadata of queries.
        attempt: does with one row of them what the run does; it raises InputError where their types do not fit.
    """

    place: str
    documents: Sequence[str]
    queries: Sequence[str] = ()
    attempt: Callable[[Columns, Columns], object] = _anything

    @classmethod
    def of_rule(cls, place: str, text: str) -> "Reading":
        """Return what a rule reads."""
        rule = Rule(text)
        return cls(place, rule.fields, rule.query_fields, lambda documents, queries: rule(documents, queries, 1))

    @property
    def names(self) -> frozenset[str]:
        """All names, as `document.year` and `query.year`."""
        return frozenset(
            {*(f"document.{name}" for name in self.documents), *(f"query.{name}" for name in self.queries)}
        )


def check_readings(readings: Iterable[Reading], of_documents: KnownMetadata, of_queries: KnownMetadata) -> None:
    """Check that metadata that are read can be there, and that their types fit.

    Raises:
        InputError: no document, or no query, can have a name; or a type does not fit.
    """
    for one in readings:
        for side, names, known in (("document", one.documents, of_documents), ("query", one.queries, of_queries)):
            missing = next((name for name in names if name not in known.kinds), None)
            if missing is not None and known.is_complete:
                raise InputError(f"{one.place}: no {side} has the metadata {shown(missing)}. {_remedy(missing, known)}")
        with placed(f"{one.place}: "):
            one.attempt(_examples(one.documents, of_documents), _examples(one.queries, of_queries))


def _remedy(missing: str, known: KnownMetadata) -> str:
    if missing in known.left_out:
        return "The key `metadata` of the source leaves this column out. Name it there."
    if not known.kinds:
        return "They have no metadata: the source has no columns that are kept beside those with a role."
    return f"{did_you_mean(missing, known.kinds, 0.5)} The names there are {listed(list(known.kinds))}.".lstrip()


def _examples(names: Sequence[str], known: KnownMetadata) -> Columns:
    """Return one row: a value of the type that each of the names has, null where that is not known."""
    kinds = {name: known.kinds.get(name) for name in names}
    for name, kind in kinds.items():
        if kind is not None and pa.types.is_nested(kind):
            raise InputError(f"the metadata {shown(name)} holds lists or objects. Name one with numbers or texts.")
    # Of zero and an empty text only the types matter.
    values = {pa.string(): "", pa.bool_(): False}
    return {
        name: pa.nulls(1) if kind is None else pa.array([values.get(kind, 0)], kind) for name, kind in kinds.items()
    }
