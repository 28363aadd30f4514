"""Sections of a configuration that mix: proposers, draws with sources, rules and windows, caps and filters."""

from collections.abc import Mapping
from random import Random
from typing import Any

from tests.fuzz.generate import Similarity
from tests.fuzz.rules import DOMAINS, Rule, some_rule

SAMPLERS = ("uniform", "frequency", "custom", "metadata", "cross_domain")
Section = dict[str, Any]


class Shares:
    """Makes the sections `search`, `proposers` and `select`, so that they fit together.

    Attributes:
        rules: the text of each rule -> what it says.
    """

    def __init__(self, random: Random, similarity: Similarity, *, labelled: bool, depth: int) -> None:
        self.random, self.similarity, self.depth = random, similarity, depth
        self.rules: dict[str, Rule] = {}
        self.proposers: list[Section] = []
        names = [*SAMPLERS, "explicit", "explicit", "lexical", "cluster", "same_document"]
        for name in random.sample(names, random.choice([0, 1, 2, 3])):
            self.propose(self._proposer(name, labelled=labelled))

    def propose(self, section: Section) -> None:
        """Add a proposer; the second of one name, and some of the others, have a source of their own."""
        taken = [one.get("source", one["proposer"]) for one in self.proposers]
        if section["proposer"] in taken or self.random.random() < 0.3:
            section = {**section, "source": f"from{len(taken)}"}
        self.proposers.append({**section, "limit": self.random.choice([1, 2, 4, 100])})

    def sections(self) -> Mapping[str, Any]:
        """Return the three sections."""
        select, deepest = self._select(), self.random.choice([self.depth, self.depth, 2 * self.depth, 1000])
        if "max_rows_per_query" in select:  # which rows decide how deep the search goes is a sample
            deepest = self.depth
        return {"search": {"k": self.depth, "max_k": deepest}, "proposers": self.proposers, "select": select}

    def _rule(self) -> str:
        rule = some_rule(self.random)
        self.rules[rule.text] = rule
        return rule.text

    def _proposer(self, name: str, *, labelled: bool) -> Section:
        section: Section = {"proposer": name}
        if name in SAMPLERS:
            section["seed"] = self.random.choice([0, 1, 2**40])
            if name == "metadata" or self.random.random() < 0.3:
                section["where"] = self._rule()
        if name == "custom" or (name == "frequency" and self.random.random() < 0.5):
            section["by"] = "clicks"
        if name == "cross_domain" and self.random.random() < 0.5:
            section["domains"] = self.random.sample(DOMAINS, 2)
        if name == "explicit" and labelled and self.random.random() < 0.5:
            section["labels"] = ["near"]
        if name == "same_document":
            section["field"] = "group"
        return section

    def _select(self) -> Section:
        random = self.random
        select: Section = {"range_max": random.randint(1, self.depth), "draws": self._draws()}
        chances: Mapping[str, tuple[float, list[Any]]] = {
            "max_rows_per_document": (0.3, [1, 1, 2, 5]),
            "max_rows_per_query": (0.1, [1, 2]),
            "short_rows": (0.15, ["drop"]),
            "margin_positive": (0.3, ["row", "lowest", "mean"]),
            "max_score": (0.1, [0.5, 2.0]),
            "min_score": (0.15, [-1.0, 0.0]),
            "relative_margin": (0.3, [0.0, 0.25]),
            "absolute_margin": (0.15, [0.0, 0.25]),
            "max_positive_similarity": (0.15, [0.5, 2.0]),
            "filters": (0.15, [[{"filter": "max_rank", "limit": limit}] for limit in (1, 4, 10)]),
        }
        select.update(
            {name: random.choice(values) for name, (chance, values) in chances.items() if random.random() < chance}
        )
        if random.random() < 0.2:
            select["range_min"] = random.randint(0, select["range_max"] - 1)
        select["draws"] = self._that_fit(select)
        return select

    def _draws(self) -> list[Section]:
        return [self._draw(first=not number) for number in range(self.random.choice([1, 2, 2, 3, 4]))]

    def _draw(self, *, first: bool) -> Section:
        random = self.random
        sources = ["search", *(one.get("source", one["proposer"]) for one in self.proposers)]
        own: Mapping[str, list[Section]] = {
            "top": [{}],
            "random": [{}, {"per": "query"}],
            "softmax": [{"temperature": 0.05}, {"temperature": 2.0}],
            "simans": [{"a": 50.0}, {"a": 0.5, "b": -0.25}],
            "semi_hard": [{"margin": 0.5}, {"margin": 4.0}],
            "stratified": [{"bins": 1}, {"bins": 3}],
            "disagreement": [{"sources": random.sample(sources, min(len(sources), 3))}] if len(sources) > 1 else [{}],
            "diverse": [{"trade_off": trade_off} for trade_off in (0.0, 0.25, 0.5, 1.0)],
            "distance_weighted": [{}, {"cutoff": 1.1, "farthest": 1.3}],
        }
        names = [name for name in own if self.similarity == "cosine" or name not in {"diverse", "distance_weighted"}]
        names = [name for name in names if name != "disagreement" or len(sources) > 1]
        name = random.choice(names)
        draw: Section = {"strategy": name, "num_negatives": random.choice([1, 1, 2, 3]), **random.choice(own[name])}
        if random.random() < 0.5:
            draw["source"] = random.choice(sources)
        if random.random() < 0.35:
            draw["where"] = random.choice([*self.rules]) if self.rules and random.random() < 0.5 else self._rule()
        if random.random() < 0.3:
            draw["range_max"] = random.randint(1, self.depth)
        if random.random() < 0.2:
            draw["range_min"] = random.choice([0, 0, 1])
        if random.random() < 0.5:
            draw["seed"] = random.choice([0, 7])
        if not first and random.random() < 0.25:
            draw["fill"] = True
        return draw

    def _that_fit(self, select: Section) -> list[Section]:
        """Return the draws whose windows are not empty, and hold all that they are to give."""
        left: dict[tuple[Any, ...], int] = {}
        draws: list[Section] = []
        for draw in select["draws"]:
            window = window_of(select, draw)
            room = left.setdefault(window, window[3] - window[2])
            if room <= 0:
                continue
            if not draw.get("fill"):
                draw["num_negatives"] = min(draw["num_negatives"], room)
                left[window] = room - draw["num_negatives"]
            draws.append(draw)
        if not draws or draws[0].get("fill"):
            return [{"strategy": "top", "num_negatives": 1, "range_min": 0, "range_max": 1}, *draws]
        return draws


def window_of(select: Mapping[str, Any], draw: Mapping[str, Any]) -> tuple[str | None, str | None, int, int]:
    """Return from what a draw takes: its source and rule, where its window begins and ends."""
    first, end = (draw.get(name, select.get(name, 0)) for name in ("range_min", "range_max"))
    return draw.get("source"), draw.get("where"), first, end
