"""Propose documents of other domains."""

from collections.abc import Sequence
from functools import cached_property

from pydantic import StrictFloat, StrictInt, StrictStr

from operators.candidates.proposers.uniform import Uniform
from operators.candidates.reading import Reading
from operators.candidates.rule import Rule
from operators.errors import listed, shown


class CrossDomain(Uniform):
    """Documents drawn uniformly from those of another domain than the query's.

    They are easy and nearly never relevant: a model that has only seen hard negatives of one domain may rank documents
    of others anywhere.

    Attributes:
        field: the metadata with the domain, of documents and of queries. A query without one draws nothing.
        domains: where any are named, documents of these domains alone: texts, or numbers.
    """

    field: str = "domain"
    domains: tuple[StrictStr, ...] | tuple[StrictInt | StrictFloat, ...] = ()

    @cached_property
    def rules(self) -> tuple[Rule | None, Rule | None]:
        """What of its rule concerns documents alone, and what concerns queries, too."""
        where = [] if self.where is None else [Rule(self.where)]
        return Rule.all_of([Rule(self._own_rule), *where]).parts()

    @property
    def _own_rule(self) -> str:
        other = f"document[{self.field!r}] != query[{self.field!r}]"
        return f"{other} and document[{self.field!r}] in {list(self.domains)!r}" if self.domains else other

    def readings(self) -> Sequence[Reading]:
        """Return what `where` and `field` read."""
        return [*super().readings(), Reading.of_rule(f"{self.place}.field", self._own_rule)]

    def reason_of_nothing(self) -> str:
        """Return which domains no document is of."""
        meets = "" if self.where is None else f" that meets {shown(self.where)}"
        of = f" that is one of {listed(self.domains)} and" if self.domains else ""
        return f"no document{meets} has a {shown(self.field)}{of} other than that of a query"
