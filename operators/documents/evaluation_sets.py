"""The configuration of evaluation sets: what must not be trained on."""

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from operators.documents.data import Collection, Kind
from operators.errors import shown
from operators.settings import Settings

# Below, most pairs of short texts that share a phrase would be compared.
Resemblance = Annotated[float, Field(ge=0.3, le=1)]
_NAME = "[A-Za-z0-9_.-]{1,64}"


class EvaluationSet(Collection):
    """Queries to keep out of the training data, and the documents that answer them.

    A BEIR folder, queries with or without judgements and a corpus, or pairs. With judgements only judged queries, and
    documents judged relevant, belong to the set.

    Attributes:
        split: of a BEIR folder.
        drop_documents: leave the documents of the set out of the corpus, too; else they are counted where they are
            positives.
    """

    split: str = "test"
    drop_documents: bool = False

    @model_validator(mode="after")
    def _names_what_is_in_it(self) -> Self:
        if self.layouts != 1 or (self.beir is None and self.pairs is None and self.queries is None):
            raise ValueError("give either beir, or queries (with or without judgements and corpus), or pairs")
        if self.drop_documents and not self.names("corpus"):
            raise ValueError("drop_documents: no documents are named. Give a corpus, or leave it out")
        if self.corpus is not None and self.judgements is None and not self.drop_documents:
            raise ValueError("corpus is of no use. Give judgements, too, or drop_documents: true, or leave it out")
        if self.positive_labels and not self.names("judgements"):
            raise ValueError("positive_labels are of judgements; leave them out")
        return self

    def names(self, kind: Kind) -> bool:
        """Tell whether there are sources of a kind."""
        return self.beir is not None or self.pairs is not None or getattr(self, kind) is not None


class ContaminationConfig(Settings):
    """Keeps texts of evaluation sets out of the training data: equal texts, and those that resemble one.

    Attributes:
        sets: name -> evaluation set.
        max_query_resemblance: training queries that resemble a query of a set more are dropped; 1 drops equal ones
            alone.
        max_document_resemblance: the same, of documents, for sets with `drop_documents`.
    """

    sets: dict[str, EvaluationSet] = Field(min_length=1)
    max_query_resemblance: Resemblance = 0.6
    max_document_resemblance: Resemblance = 0.35

    @field_validator("sets")
    @classmethod
    def _names_are_short(cls, sets: dict[str, EvaluationSet]) -> dict[str, EvaluationSet]:
        wrong = next((name for name in sets if not re.fullmatch(_NAME, name)), None)
        if wrong is not None:
            raise ValueError(f"{shown(wrong)} is no name for a set: letters, digits, `_`, `-` and `.`, at most 64")
        return sets
