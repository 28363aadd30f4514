"""A proposer: where candidates come from beside the vector search."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.candidates.pairs import ALWAYS_THERE
from operators.candidates.reading import Reading
from operators.candidates.sources import NAME, SEARCH, rank_column
from operators.errors import InputError, shown
from operators.plugins import calling
from operators.schemas import PAIR, PROPOSALS, to_numpy
from operators.segments import first_index, first_of_each, rank_within
from operators.settings import AtLeastOne, Settings

SourceName = Annotated[str, Field(pattern=NAME)]


class CandidateSource(Settings):
    """Names documents as candidates of queries, beside those of the search.

    What it names is scored exactly by the encoder of the run, goes through the same filters as what the search found,
    and keeps its rank: `<source>_rank` is a signal, -1 where the source did not name the candidate. Its fields are the
    keys of its section of `proposers`.

    Attributes:
        proposer: its name.
        source: the name that its candidates carry; by default that of the proposer.
        limit: how many documents it proposes for a query, at most; the first ones are kept.
        judged: what it names is known not to be relevant, so no filter drops it as a suspected false negative.
    """

    proposer: str = ""
    source: SourceName = ""
    limit: AtLeastOne = 100

    judged: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _source_is_named(cls, settings: object) -> object:
        if isinstance(settings, dict) and "source" not in settings:
            return {**settings, "source": str(settings.get("proposer", "")).rpartition(":")[2]}
        return settings

    @property
    def place(self) -> str:
        """Where its section is in the configuration, for messages."""
        return f"proposers.{self.source}"

    def readings(self) -> Sequence[Reading]:
        """Return what metadata its keys name, so that a name that cannot be there is refused before the work starts."""
        return ()

    def reason_of_nothing(self) -> str:
        """Return why it may have proposed nothing, for a warning; empty where there is no reason to name."""
        return ""


class Proposer(CandidateSource):
    """Proposes documents from what is known of the queries and their judgements.

    A proposer is a class that derives from this one: in a module of its own in operators/candidates/proposers/, which
    is its name, or in your own code, named as `module:name`.
    """

    @abstractmethod
    def __call__(self, queries: pa.Table, judgements: pa.Table) -> pa.Table:
        """Return pairs of `query_key` and `doc_key`, the best of each query first. May be called twice on a batch.

        Documents that are not in the corpus are counted and left out. What is random has to come from the keys and a
        seed (`operators.keys.uniform`), so that neither the order of rows nor the number of workers changes it.

        Args:
            queries: schema QUERIES.
            judgements: schema JUDGEMENTS, of these queries: those of positives, and all others.
        """


def check_sources(proposers: Sequence[CandidateSource]) -> None:
    """Check that every source has a name of its own.

    Raises:
        ValueError: there are two of one name, or one that the search or another number has.
    """
    taken = {SEARCH}
    for one in proposers:
        if one.source in taken or rank_column(one.source) in ALWAYS_THERE:
            raise ValueError(f"proposers: there are two sources {shown(one.source)}; give one a `source` of its own")
        taken.add(one.source)


def proposals(proposer: Proposer, queries: pa.Table, judgements: pa.Table) -> pa.Table:
    """Return what a proposer names for a batch of queries: schema PROPOSALS, each pair once, with its rank from 0.

    Args:
        proposer: any.
        queries: schema QUERIES.
        judgements: schema JUDGEMENTS, of these queries.

    Raises:
        InputError: the proposer gives something else than pairs of its queries and documents, or its code, which is not
            ours, raises an error.
    """
    name = f"{proposer.place}: {proposer.proposer or type(proposer).__name__}"
    with calling(name, proposer, "__call__"):
        given = proposer(queries, judgements)
    if not isinstance(given, pa.Table):
        raise InputError(f"{name}: a pyarrow.Table is wanted, not {type(given).__name__}")
    try:
        pairs = given.select(list(PAIR)).cast(pa.schema([PROPOSALS.field(key) for key in PAIR]))
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{name}: query_key and doc_key are wanted, both int64: {error}") from error
    if any(column.null_count for column in pairs.columns):
        raise InputError(f"{name}: it proposes a null.")
    query = first_index(to_numpy(queries, "query_key"), to_numpy(pairs, "query_key"))
    if (query < 0).any():
        raise InputError(f"{name}: it proposes documents for a query that it was not asked for.")
    order = np.argsort(query, kind="stable")
    ordered, document = query[order], to_numpy(pairs, "doc_key")[order]
    kept = order[first_of_each(ordered, document)]
    rank = rank_within(query[kept])
    inside = rank < proposer.limit
    taken = pairs.take(pa.array(kept[inside]))
    return taken.append_column("rank", pa.array(rank[inside], pa.int32())).cast(PROPOSALS)
