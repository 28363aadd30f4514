"""Proposers that draw from the whole corpus, each document in proportion to a weight."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import model_validator

from operators.candidates.numbers import as_floats
from operators.candidates.proposer import CandidateSource
from operators.candidates.reading import Reading
from operators.candidates.rule import Rule, RuleText, kind_of
from operators.errors import InputError, shown

Weights = npt.NDArray[np.float64]


class CorpusSampler(CandidateSource):
    """Draws documents for each query at random from the whole corpus, without repetition.

    The key of the query, the seed and the name of the source decide, and what documents there are; neither the order of
    documents nor how they are divided over files and workers changes anything. Two sources draw independently.

    Attributes:
        seed: of the sample.
        where: a rule that the documents meet, over their metadata and that of the query, such as
            `year < 2010 and domain != query.domain`.
    """

    seed: int = 0
    where: RuleText | None = None

    @model_validator(mode="after")
    def _rules_are_made(self) -> Self:
        _ = self.rules  # what is wrong with them is said before any work
        return self

    @property
    def column(self) -> str | None:
        """The metadata that the weight is made of; None where there is none."""
        return None

    @property
    def counts_judgements(self) -> bool:
        """Whether the weight is made of how many queries a document is judged relevant to."""
        return False

    @abstractmethod
    def weight(self, values: npt.NDArray[np.float64]) -> Weights:
        """Return the weights of documents, float64 of shape (n,), none negative.

        Args:
            values: the numbers in `column`, or the counts of judgements, not a number where there is none; ones where
                the weight is made of nothing.
        """

    @cached_property
    def rules(self) -> tuple[Rule | None, Rule | None]:
        """What of `where` concerns documents alone, and what concerns queries, too."""
        return (None, None) if self.where is None else Rule(self.where).parts()

    @property
    def fields(self) -> Sequence[str]:
        """The metadata of documents that it reads."""
        of_rules = [name for rule in self.rules if rule is not None for name in rule.fields]
        return tuple(sorted({*of_rules, *([] if self.column is None else [self.column])}))

    @property
    def query_fields(self) -> Sequence[str]:
        """The metadata of queries that it reads."""
        return () if self.rules[1] is None else self.rules[1].query_fields

    def readings(self) -> Sequence[Reading]:
        """Return what `where` and the key with the name of the weight read."""
        of_rule = [] if self.where is None else [Reading.of_rule(f"{self.place}.where", self.where)]
        if self.column is None:
            return of_rule
        key = next((key for key, value in self if key not in CandidateSource.model_fields and value == self.column), "")
        reading = Reading(
            f"{self.place}.{key}".rstrip("."), [self.column], (), lambda documents, _: self.numbers(documents, 1)
        )
        return [*of_rule, reading]

    def reason_of_nothing(self) -> str:
        """Return that no document has any weight, or meets the rule."""
        meets = "" if self.where is None else f" meets {shown(self.where)}"
        if self.column is None:
            return meets and f"no document{meets}"
        return f"no document{meets and f' that{meets}'} has a weight in the metadata {shown(self.column)}"

    def numbers(self, fields: Mapping[str, pa.Array], rows: int) -> npt.NDArray[np.float64]:
        """Return what the weights are made of, for documents with these metadata: float64 of shape (rows,).

        Raises:
            InputError: the metadata is no number.
        """
        if self.column is None:
            return np.full(rows, np.nan if self.counts_judgements else 1.0)
        return numbers_in(fields[self.column], self.column)


def numbers_in(values: pa.Array, name: str) -> npt.NDArray[np.float64]:
    """Return metadata as numbers, not a number where there is none: float64 of shape (n,).

    Raises:
        InputError: it is text.
    """
    if pa.types.is_string(values.type) or pa.types.is_boolean(values.type):
        raise InputError(
            f"the metadata {shown(name)} is {kind_of(values.type)}, and a weight is made of a number. Name metadata "
            f"with numbers; CSV and TSV files hold texts alone."
        )
    return as_floats(values)
