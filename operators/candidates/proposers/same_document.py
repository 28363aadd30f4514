"""Propose other passages of the documents that the positives are from."""

from collections.abc import Sequence

import pyarrow as pa

from operators.candidates.groups import group_names
from operators.candidates.proposer import CandidateSource
from operators.candidates.reading import Reading
from operators.errors import shown


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
        return group_names(metadata, self.field, f"{self.place}.field")
