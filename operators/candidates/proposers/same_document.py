"""Propose other passages of the documents that the positives are from."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from operators.candidates.proposer import CandidateSource
from operators.candidates.reading import Reading
from operators.candidates.rule import fields_of
from operators.errors import InputError, shown

# Below it each integer is a float of its own.
EXACT = 2.0**53


class SameDocument(CandidateSource):
    """The other passages of the document that a positive is a passage of.

    They share its subject and its words and rarely answer the query (context negatives; Lu et al., "Multi-stage
    training with improved negative contrast for neural passage retrieval", EMNLP 2021). Of more than `limit` passages a
    sample is taken, by the keys of query and passage, the seed and the name of the source.

    Attributes:
        field: the metadata that passages of one document have in common, such as its id.
        seed: of the sample.
    """

    field: str
    seed: int = 0

    def readings(self) -> Sequence[Reading]:
        """Return what `field` reads."""
        return [Reading(f"{self.place}.field", [self.field])]

    def reason_of_nothing(self) -> str:
        """Return that no positive has such a document with other passages."""
        return f"no positive shares its {shown(self.field)} with another document"

    def documents_of(self, metadata: pa.ChunkedArray) -> pa.Array:
        """Return the document that each passage is from, as text, null where it has none: 7, 7.0 and "7" are one.

        Raises:
            InputError: the field is a list or an object.
        """
        try:
            values = fields_of(metadata, [self.field])[self.field]
        except InputError:  # of several kinds, or lists and objects
            return self._row_by_row(metadata)
        if not pa.types.is_floating(values.type):
            return values.cast(pa.string())
        if pc.any(pc.greater_equal(pc.abs(values), EXACT)).as_py():  # they may stand for integers that differ
            return self._row_by_row(metadata)
        different = values.dictionary_encode()
        names = pa.array(list(map(self._text_of, different.dictionary.to_pylist())), pa.string())
        return names.take(different.indices)

    def _row_by_row(self, metadata: pa.ChunkedArray) -> pa.Array:
        values = [None if one is None else json.loads(one).get(self.field) for one in metadata.to_pylist()]
        return pa.array(list(map(self._text_of, values)), pa.string())

    def _text_of(self, value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, list | dict):
            raise InputError(
                f"{self.place}.field: the metadata {shown(self.field)} is {shown(json.dumps(value))}. Name a "
                f"field that has one text or number in each passage."
            )
        return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
