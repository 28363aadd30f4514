"""What must be drawn, by the documentation: row by row, one draw after the other, and all that is counted."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.checking import records_of
from tests.fuzz.collection import key_of
from tests.fuzz.found import SEARCH, Row
from tests.fuzz.mixture import Mixture
from tests.fuzz.oracle import SUSPECTED
from tests.fuzz.shares import window_of
from tests.fuzz.strategies import Pair, Turn

Record = Mapping[str, Any]
# Where what passed the filters is in a window; the last two are not counted by it.
INSIDE, BEFORE, AFTER, NOT_MET, NOT_OF_SOURCE = "inside", "range_min", "range_max", "where", "source"
CAPPED, NOT_DRAWN, SHORT_ROW = "max_rows_per_document", "not_drawn", "short_row"


@dataclass
class Counted:
    """What is counted over all rows.

    Attributes:
        reasons: why candidates are no negatives.
        shares: label of a draw -> how many it should take, took, and rows that it left short.
        rows: how many there are, have some, and have none.
        suspected: the keys of query, positive and document, and the reason.
        sure: whether nothing is left open.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    shares: dict[str, Counter[str]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    suspected: list[tuple[int, int, int, str]] = field(default_factory=list)
    sure: bool = True


@dataclass(frozen=True)
class CheckDrawn:
    """Checks the negatives of a run.

    Attributes:
        made: the configuration.
        rows: all, with their candidates.
    """

    made: Mixture
    rows: Sequence[Row]

    def faults(self) -> Iterator[str]:
        """Yield what is wrong."""
        negatives: dict[tuple[int, int], dict[int, Record]] = {row.keys: {} for row in self.rows}
        served: dict[int, list[float]] = {}
        for one in records_of(self.made.run, "select", "negatives"):
            keys = one["query_key"], one["positive_key"]
            if keys not in negatives or one["doc_key"] in negatives[keys]:
                yield f"a negative of a row that should not be there, or a second time: {one}"
                return
            negatives[keys][one["doc_key"]] = one
            served.setdefault(one["doc_key"], []).append(one["score"])
        most = self.made.config["select"].get("max_rows_per_document", len(self.rows))
        # A row that wants a full document scores no higher for it than the rows that have it.
        full = {key: min(scores) for key, scores in served.items() if len(scores) >= most}
        if any(len(scores) > most for scores in served.values()):
            yield f"a document is a negative of more than {most} rows"
        counted = Counted()
        for row in self.rows:
            check = CheckRow(self.made, row, negatives[row.keys], full if most < len(self.rows) else {})
            yield from (f"{row.name}: {fault}" for fault in check.faults(counted))
        yield from self._of_queries(negatives, counted)
        yield from self._totals(counted)

    def _of_queries(self, negatives: Mapping[tuple[int, int], Mapping[int, Record]], counted: Counted) -> Iterator[str]:
        most = self.made.config["select"].get("max_rows_per_query")
        if most is None:
            return
        counted.sure = False
        there = Counter(query for (query, _), some in negatives.items() if some)
        if max(there.values(), default=0) > most:
            yield f"a query has {max(there.values())} rows, and {most} at most"
        rows = Counter(row.keys[0] for row in self.rows)
        left_out, found = sum(max(count - most, 0) for count in rows.values()), self._manifest()["rows_left_out"]
        if found != left_out:
            yield f"{found} rows are left out, and should be {left_out}"

    def _totals(self, counted: Counted) -> Iterator[str]:
        if not counted.sure:
            return
        manifest, capped = self._manifest(), "max_rows_per_document" in self.made.config["select"]
        dropped = Counter({reason: count for reason, count in manifest["dropped"].items() if count})
        if capped:  # of what is not drawn, what the cap took away: who proposed to a full document is not known
            if dropped[CAPPED] > counted.reasons[CAPPED]:
                yield f"{dropped[CAPPED]} taken away by the cap, and {counted.reasons[CAPPED]} at most"
            for counts in (dropped, counted.reasons):
                counts[NOT_DRAWN] += counts.pop(CAPPED, 0)
        if +dropped != +counted.reasons:
            yield f"dropped {dict(dropped - counted.reasons)}, and should be {dict(counted.reasons - dropped)} more"
        shares = {label: dict(share) for label, share in counted.shares.items()}
        if manifest["draws"] != shares:
            yield f"draws {manifest['draws']}, and should be {shares}"
        found = {name: manifest[name] for name in ("pairs", "short_rows", "empty_rows")}
        wanted = {name: counted.rows[name] for name in found}
        if found != wanted:
            yield f"rows {found}, and should be {wanted}"
        suspected = records_of(self.made.run, "select", "suspected")
        held = [(one["query_key"], one["positive_key"], one["doc_key"], one["reason"]) for one in suspected]
        if sorted(held) != sorted(counted.suspected):
            yield f"{len(held)} suspected, and should be {len(counted.suspected)}"

    def _manifest(self) -> Record:
        (path,) = (self.made.run / "select").glob("*/_manifest.json")
        manifest: Record = json.loads(path.read_text("utf-8"))
        return manifest


@dataclass(frozen=True)
class CheckRow:
    """Checks the negatives of a row.

    Attributes:
        made: the configuration.
        row: which, with its candidates.
        negatives: key of a document -> what was written of it.
        full: key of a document that serves as many rows as it may -> the lowest score of these.
    """

    made: Mixture
    row: Row
    negatives: Mapping[int, Record]
    full: Mapping[int, float]

    def faults(self, counted: Counted) -> Iterator[str]:
        """Yield what is wrong, and count."""
        short = len(self.negatives) < self.made.per_row
        counted.rows.update({"pairs": 1, "short_rows": int(short and bool(self.negatives))})
        counted.rows["empty_rows"] += not self.negatives
        by_key = {key_of(one.name): one for one in self.row.pairs}
        for key, record in self.negatives.items():
            pair = by_key.get(key)
            if pair is None or pair.reason:
                yield f"{key} is a negative, and {'is dropped by ' + pair.reason if pair else 'nothing names it'}"
                return
            yield from self._same(pair, record)
        select = self.made.config["select"]
        dropping = select.get("short_rows") == "drop" and (short or self.full)
        if dropping and short and self.negatives:
            yield f"{len(self.negatives)} negatives in a row that should have {self.made.per_row} or none"
        if dropping or ("max_rows_per_query" in select and not self.negatives):
            counted.sure = False  # what it had before it was dropped is not known, nor which rows a query keeps
            return
        yield from self._draws(counted)
        self._count(counted)

    def _same(self, pair: Pair, record: Record) -> Iterator[str]:
        sources = [SEARCH, *(one.get("source", one["proposer"]) for one in self.made.config["proposers"])]
        wanted = {
            "score": pair.score,
            "positive_score": self.row.score,
            "sources": [source for source in sources if source in pair.ranks],
            "rank": pair.ranks.get(SEARCH, -1),
            "reason": "negative",
        }
        wrong = {name: record[name] for name, value in wanted.items() if record[name] != value}
        if wrong:
            yield f"{pair.name!r} has {wrong}, and should have {wanted}"

    def _draws(self, counted: Counted) -> Iterator[str]:
        draws, taken, missing = self.made.draws, set[str](), 0
        labels = labels_of([draw["strategy"] for draw in draws])
        strange = {one["draw"] for one in self.negatives.values()} - set(labels)
        if strange:
            yield f"draws {sorted(strange)} that are not there"
        for label, draw in zip(labels, draws, strict=True):
            of_draw = {key: one for key, one in self.negatives.items() if one["draw"] == label}
            own = frozenset(one.name for one in self._passed() if key_of(one.name) in of_draw)
            quota = min(missing, draw["num_negatives"]) if draw.get("fill") else draw["num_negatives"]
            places = self._places(draw)
            inside = [one for one in self._passed() if places[one.name] == INSIDE]
            free = frozenset(one.name for one in inside if one.name not in taken and not self._away(one))
            turn = Turn(draw, inside, free, quota, self.row.reference)
            fault = turn.fault(own) or self._fault_of_log(turn, of_draw)
            if fault:
                yield f"{label}: {fault}"
            taken |= own
            missing = missing - len(own) if draw.get("fill") else missing + quota - len(own)
            share = counted.shares.setdefault(label, Counter({"wanted": 0, "taken": 0, "short_rows": 0}))
            share.update({"wanted": quota, "taken": len(own), "short_rows": int(len(own) < quota)})

    def _fault_of_log(self, turn: Turn, of_draw: Mapping[int, Record]) -> str:
        found = {key: one["log_probability"] for key, one in of_draw.items()}
        wanted = turn.log_probabilities()
        if wanted is None:
            none = {key for key, one in found.items() if one is not None}
            return f"a log-probability of {sorted(none)}, and nothing is random" if none else ""
        by_key = {key_of(name): number for name, number in wanted.items()}
        for key, one in found.items():
            # Which full documents turned the row away is not known: with fewer of them there are more to choose from.
            beyond = one is None or one > 1e-6 or one > by_key[key] + 1e-4 + 1e-5 * abs(by_key[key])
            if beyond or (not self.full and one < by_key[key] - 1e-4 - 1e-5 * abs(by_key[key])):
                return f"the log-probability {one} of {key}, and should be {by_key[key]}"
        return ""

    def _passed(self) -> list[Pair]:
        return [one for one in self.row.pairs if not one.reason]

    def _away(self, one: Pair) -> bool:
        """Tell whether a full document turned the row away, or would."""
        key = key_of(one.name)
        return key in self.full and key not in self.negatives and one.score <= self.full[key]

    def _places(self, draw: Mapping[str, Any]) -> dict[str, str]:
        """Return where each that passed is in the window of a draw."""
        source, where, first, end = window_of(self.made.config["select"], draw)
        places, counted = {}, 0
        for one in self._passed():
            if source is not None and source not in one.ranks:
                places[one.name] = NOT_OF_SOURCE
            elif where is not None and not self.made.rules[where](one.document.metadata, self.row.query.metadata):
                places[one.name] = NOT_MET
            else:
                places[one.name] = BEFORE if counted < first else AFTER if counted >= end else INSIDE
                counted += 1
        return places

    def _count(self, counted: Counted) -> None:
        windows = [self._places(draw) for draw in self.made.draws]
        query, positive = self.row.keys
        for one in self.row.pairs:
            if key_of(one.name) in self.negatives:
                continue
            reason = one.reason or _why_not([places[one.name] for places in windows])
            reason = CAPPED if reason == NOT_DRAWN and self._away(one) else reason
            counted.reasons[reason] += 1
            if reason in SUSPECTED:
                counted.suspected.append((query, positive, key_of(one.name), reason))


def _why_not(places: Sequence[str]) -> str:
    """Say why one that passed is not drawn, by its places in the windows."""
    if INSIDE in places:
        return NOT_DRAWN
    outside = [place for place in places if place in {BEFORE, AFTER}]
    return outside[0] if outside else NOT_MET if NOT_MET in places else NOT_DRAWN


def labels_of(strategies: Sequence[str]) -> list[str]:
    """Return the names of draws: strategies, with their place where several have one."""
    return [
        name if strategies.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(strategies, start=1)
    ]
