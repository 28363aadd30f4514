"""Propose documents of other domains."""

from functools import cached_property

from operators.candidates.proposers.uniform import Uniform
from operators.candidates.rule import Rule


class CrossDomain(Uniform):
    """Documents drawn uniformly from those of another domain than the query's.

    They are easy and nearly never relevant: a model that has only seen hard negatives of one domain may rank documents
    of others anywhere.

    Attributes:
        field: the metadata with the domain, of documents and of queries. A query without one draws nothing.
        domains: where any are named, documents of these domains alone.
    """

    field: str = "domain"
    domains: tuple[str, ...] = ()

    @cached_property
    def rules(self) -> tuple[Rule | None, Rule | None]:
        """What of its rule concerns documents alone, and what concerns queries, too."""
        field = f"document[{self.field!r}]"
        texts = [f"{field} != query[{self.field!r}]"]
        if self.domains:
            texts.append(f"{field} in {list(self.domains)!r}")
        if self.where is not None:
            texts.append(self.where)
        return Rule.all_of([Rule(text) for text in texts]).parts()
