"""The configuration of a selection: which candidates are fit to be negatives, and how negatives are drawn."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from operators.candidates import draws as own_draws
from operators.candidates import filters as own_filters
from operators.candidates.draw import MOST_NEGATIVES, Draw
from operators.candidates.drawing import Window
from operators.candidates.false_negatives.model import Share
from operators.candidates.filter import CAPPED, NEGATIVE, NO_RULE, NOT_DRAWN, POSITIVES, SHORT_ROW, WINDOW, Filter
from operators.candidates.filters.same_group import SameGroup
from operators.candidates.pairs import ALWAYS_THERE, VECTOR, Reference
from operators.candidates.sources import SEARCH
from operators.keys import splitmix64
from operators.plugins import code_of, find, made
from operators.settings import AtLeastOne, AtLeastZero, Settings

# Reasons that are counted for what is no filter of the user.
RESERVED = {NEGATIVE, NOT_DRAWN, NO_RULE, CAPPED, SHORT_ROW, *WINDOW, *POSITIVES}
# Filters that have a key of their own in `select`, and what that key is in their section.
SHORT_FORMS = {
    "max_positive_resemblance": "limit",
    "max_positive_similarity": "limit",
    "max_false_negative_probability": "limit",
    "absolute_margin": "margin",
    "relative_margin": "margin",
    "max_score": "limit",
    "min_score": "limit",
}


def _filter(settings: object) -> Filter:
    return made(settings, "filter", Filter, own_filters)  # type: ignore[type-abstract]


def _draw(settings: object) -> Draw:
    return made(settings, "strategy", Draw, own_draws)  # type: ignore[type-abstract]


def _strategy(name: str) -> str:
    find(name, Draw, own_draws)  # type: ignore[type-abstract]
    return name


AnyFilter = Annotated[SerializeAsAny[Filter], BeforeValidator(_filter)]
AnyDraw = Annotated[SerializeAsAny[Draw], BeforeValidator(_draw)]


class FilterConfig(Settings):
    """Which candidates are not fit to be negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        max_positive_resemblance: drop candidates whose text resembles that of a positive document of the query more,
            from 0 to 1: near-copies.
        max_positive_similarity: drop candidates whose similarity to a positive document of the query is higher.
        max_false_negative_probability: drop candidates that are likelier relevant, by the model of `false_negatives`.
        target_false_negative_rate: the same, with the highest limit under which the mean probability of the negatives
            is not above this: measured on the candidates of the run before it selects.
        absolute_margin: drop candidates whose score is above the positive's score less this.
        relative_margin: drop candidates whose score is above the positive's score less this fraction of its magnitude:
            `score > positive - abs(positive) * relative_margin`, so right for negative scores too (0.05 is TopK-PercPos
            95 % of NV-Retriever, arXiv 2407.15831, section 3.2).
        margin_positive: against which positive the margins are taken where a query has several. `row`: the positive
            of the row that the negatives are drawn for, so rows of one query may have different negatives. `lowest`:
            the lowest-scored positive of the query for all its rows, as sentence-transformers does. `mean`: the mean
            score of the query's positives. Draws that compare with a positive take the same one.
        max_score: drop candidates with a higher score.
        min_score: drop candidates with a lower score.
        filters: further filters: `{filter: name, ...}`, or `module:name` of your own.
    """

    max_positive_resemblance: float | None = Field(default=None, ge=0, le=1)
    max_positive_similarity: float | None = None
    max_false_negative_probability: Share | None = None
    target_false_negative_rate: Share | None = None
    absolute_margin: float | None = Field(default=None, ge=0)
    relative_margin: float | None = Field(default=None, ge=0)
    margin_positive: Reference = "row"
    max_score: float | None = None
    min_score: float | None = None
    filters: tuple[AnyFilter, ...] = ()

    def active_filters(self) -> list[Filter]:
        """Return the filters in the order in which they are asked: the first that drops a candidate is its reason."""
        given = {name: value for name in SHORT_FORMS if (value := getattr(self, name)) is not None}
        if self.target_false_negative_rate is not None:  # until a higher limit is measured, none is above the target
            given["max_false_negative_probability"] = self.target_false_negative_rate
        short = [{"filter": name, SHORT_FORMS[name]: value} for name, value in given.items()]
        always = [{"filter": name} for name in POSITIVES]
        return [*map(_filter, (*always, *short)), *self.filters]

    def filters_of_search(self) -> list[Filter]:
        """Return the active filters that decide how deep a query is searched.

        Signals that are computed after the search cannot.
        """
        return [one for one in self.active_filters() if set(one.needs).issubset(ALWAYS_THERE)]


class SelectConfig(FilterConfig):
    """Which candidates become negatives. Names and meanings are those of sentence-transformers.

    Attributes:
        num_negatives: how many negatives each (query, positive) row gets, at most.
        range_min: skip so many of the best candidates that passed the filters; for a draw with a `source`, of those
            that this source named, and for one with a `where`, of those that meet it.
        range_max: draw only from so many of the best that passed the filters, counted in the same way.
        sampling_strategy: `top` takes the best of that window, `random` a uniform sample of it; other draws that need
            no settings.
        seed: of the sample. The same seed gives the same sample, in whatever order and on how many workers.
        max_rows_per_query: how many positives of a query make a row, at most: a sample of them. A query with hundreds
            of positives would have as many rows.
        max_rows_per_document: how many rows one document may be a negative of, over the whole set; the rows that it
            scores highest for keep it, and the others draw the next.
        short_rows: `keep` writes rows that have fewer negatives than wanted; `drop` gives these none, so that every row
            that has negatives has all of them. It changes nothing for other rows.
        draws: several draws one after the other, in the place of `num_negatives` and `sampling_strategy`:
            `{strategy: name, num_negatives: 2, ...}`, or `module:name` of your own. A candidate is drawn once.
    """

    num_negatives: int = Field(default=4, ge=1, le=MOST_NEGATIVES)
    range_min: AtLeastZero = 0
    range_max: AtLeastOne = 100
    sampling_strategy: Annotated[str, AfterValidator(_strategy)] = "top"
    seed: int = 0
    max_rows_per_query: AtLeastOne | None = None
    max_rows_per_document: AtLeastOne | None = None
    short_rows: Literal["keep", "drop"] = "keep"
    draws: tuple[AnyDraw, ...] = ()

    @model_validator(mode="after")
    def _reasons_are_free(self) -> Self:
        taken = [one for one in self.filters if one.reason in RESERVED and code_of(one) is not None]
        if taken:
            raise ValueError(
                f"filters: the reason {taken[0].reason!r} of {taken[0].filter} has another meaning already"
            )
        return self

    @model_validator(mode="after")
    def _no_filter_reads_vectors(self) -> Self:
        reading = [one.filter for one in self.filters if VECTOR in one.needs]
        if reading:
            raise ValueError(f"filters: {reading[0]} reads {VECTOR!r}, which is for draws alone")
        return self

    @model_validator(mode="after")
    def _one_limit_of_probability(self) -> Self:
        if self.max_false_negative_probability is not None and self.target_false_negative_rate is not None:
            raise ValueError(
                "max_false_negative_probability and target_false_negative_rate: the target sets the limit: give one"
            )
        return self

    @model_validator(mode="after")
    def _no_window_is_empty(self) -> Self:
        for draw in self.active_draws():
            window = self.window_of(draw)
            if window.end <= window.first:
                raise ValueError(
                    f"range_max must be above range_min: the draw {draw.strategy} has {window.end} and {window.first}. "
                    f"Raise range_max, or lower range_min."
                )
        return self

    @model_validator(mode="after")
    def _window_holds_the_negatives(self) -> Self:
        short_form, fields = ("num_negatives", "sampling_strategy", "seed"), type(self).model_fields
        given = [name for name in short_form if getattr(self, name) != fields[name].default]
        if self.draws and given:
            raise ValueError(f"{' and '.join(given)}: the short form of one draw: give them in draws alone")
        if self.negatives_per_row > MOST_NEGATIVES:
            raise ValueError(
                f"draws: {self.negatives_per_row:,} negatives for each row; the most is {MOST_NEGATIVES:,}"
            )
        if self.active_draws()[0].fill:
            raise ValueError("draws: the first draw fills what draws before it left short; there is none before it")
        for window in dict.fromkeys(map(self.window_of, self.active_draws())):
            wanted = sum(draw.num_negatives for draw in self._counting if self.window_of(draw) == window)
            if wanted > window.end - window.first:
                raise ValueError(
                    f"num_negatives ({wanted}) is larger than the candidate window: range_max - range_min is "
                    f"{window.end - window.first}. Lower num_negatives or range_min, or raise range_max."
                )
        return self

    def active_draws(self) -> tuple[Draw, ...]:
        """Return the draws, or the one that the short form stands for; from the second on with seeds of their own.

        With the same random numbers a draw would favour or avoid candidates by what draws before it took, and none
        could tell with which probability it takes one.
        """
        short = {"strategy": self.sampling_strategy, "num_negatives": self.num_negatives, "seed": self.seed}
        first, *others = self.draws or (_draw(short),)
        seeds = [int(splitmix64(draw.seed, place)[0] >> 1) for place, draw in enumerate(others, start=1)]
        return (first, *(draw.model_copy(update={"seed": seed}) for draw, seed in zip(others, seeds, strict=True)))

    def window_of(self, draw: Draw) -> Window:
        """Return from what a draw takes."""
        first = self.range_min if draw.range_min is None else draw.range_min
        end = self.range_max if draw.range_max is None else draw.range_max
        return Window(draw.source, first, end, draw.where)

    @property
    def _counting(self) -> list[Draw]:
        return [draw for draw in self.active_draws() if not draw.fill]

    @property
    def negatives_per_row(self) -> int:
        """How many negatives a full row has."""
        return sum(draw.num_negatives for draw in self._counting)

    @property
    def deepest(self) -> int:
        """How many candidates of the search draws look at, at most."""
        return max((self.window_of(draw).end for draw in self._of_search), default=0)

    @property
    def _of_search(self) -> list[Draw]:
        return [draw for draw in self.active_draws() if draw.source in {None, SEARCH}]

    @property
    def needed(self) -> int:
        """How many candidates of the search have to pass the filters so that more of them would change nothing.

        A draw with a `where` counts as without it: which candidates meet a rule is known after the search, and a rule
        that few meet would have every query searched to the end.
        """
        # Where documents are capped, a row may have to go on to any candidate of its window.
        first_only = all(draw.first_only for draw in self._of_search) and self.max_rows_per_document is None
        if not first_only:
            return self.deepest
        # Draws of other sources may take candidates that the search found, too.
        windows = map(self.window_of, self._of_search)
        return max((min(one.first + self.negatives_per_row, one.end) for one in windows), default=0)

    @property
    def depth(self) -> int | None:
        """The rank in the search from which on the filters drop every candidate; None where there is no such rank."""
        return min((depth for one in self.active_filters() if (depth := one.depth()) is not None), default=None)

    @property
    def rules(self) -> Mapping[str, str]:
        """The different rules of its draws, ascending, and for each the key of the first draw that has it."""
        rules = [draw.where for draw in self.draws]
        different = sorted({rule for rule in rules if rule is not None})
        return {rule: f"select.draws.{rules.index(rule)}.where" for rule in different}

    @property
    def groups(self) -> Mapping[str, str]:
        """The metadata and functions by which its filters group documents, and for each the key of the first filter."""
        of_filters = {
            f"select.filters.{n}.{'field' if one.function is None else 'function'}": one.group
            for n, one in enumerate(self.filters)
            if isinstance(one, SameGroup)
        }
        return {group: place for place, group in reversed(of_filters.items())}

    @property
    def group_functions(self) -> frozenset[str]:
        """Which of its groups are functions."""
        functions = (one.function for one in self.filters if isinstance(one, SameGroup))
        return frozenset(function for function in functions if function is not None)

    @property
    def signals(self) -> frozenset[str]:
        """The signals that its filters and draws read."""
        needs = [*(one.needs for one in self.active_filters()), *(one.needs for one in self.active_draws())]
        return frozenset(name for names in needs for name in names)

    @property
    def reads_vectors(self) -> bool:
        """Whether a draw reads the vectors of candidates."""
        return VECTOR in self.signals

    def code(self) -> Mapping[str, Any]:
        """Return a digest of the code of filters and draws that are not ours: they decide what is selected, too."""
        own = {f"{type(one).__module__}:{type(one).__qualname__}": code_of(one) for one in (*self.filters, *self.draws)}
        return {name: digest for name, digest in own.items() if digest is not None}
