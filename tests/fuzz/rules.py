"""Rules over metadata, and what they say: three-valued logic, one document and one query at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

Metadata = Mapping[str, Any]
# Whether it holds; None where a field is missing.
Truth = bool | None
DOMAINS = ("law", "médecine", "x'y")
YEARS = (1999, 2001, 2001.5, 2010)


@dataclass(frozen=True)
class Rule:
    """A rule: how it is written, and whether it holds for the metadata of a document and of a query."""

    text: str
    holds: Callable[[Metadata, Metadata], Truth]

    def __call__(self, document: Metadata, query: Metadata) -> bool:
        """Tell whether it is known to hold."""
        return self.holds(document, query) is True


def some_rule(random: Random, depth: int = 2) -> Rule:
    """Make a rule of up to four comparisons."""
    kind = random.choice(["and", "or", "not", *["compare"] * 4]) if depth else "compare"
    if kind == "compare":
        return random.choice([_of_text, _of_number, _among])(random)
    one = some_rule(random, depth - 1)
    if kind == "not":
        return Rule(f"not ({one.text})", lambda d, q: _negated(one.holds(d, q)))
    other = some_rule(random, depth - 1)
    join = _both if kind == "and" else _either
    return Rule(f"({one.text}) {kind} ({other.text})", lambda d, q: join(one.holds(d, q), other.holds(d, q)))


def _of_text(random: Random) -> Rule:
    equal, field = random.random() < 0.5, random.choice(["domain", "document['domain']"])
    value = random.choice(DOMAINS)
    of_query = random.random() < 0.6
    text = f"{field} {'==' if equal else '!='} {'query.domain' if of_query else repr(value)}"
    return Rule(
        text,
        lambda d, q: _compared(d.get("domain"), q.get("domain") if of_query else value, lambda a, b: (a == b) is equal),
    )


def _of_number(random: Random) -> Rule:
    operators: Mapping[str, Callable[[Any, Any], bool]] = {
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
    }
    name, value, of_query = random.choice(sorted(operators)), random.choice(YEARS), random.random() < 0.4
    text = f"year {name} {'query.year' if of_query else value}"
    return Rule(text, lambda d, q: _compared(d.get("year"), q.get("year") if of_query else value, operators[name]))


def _among(random: Random) -> Rule:
    field, values = random.choice([("domain", DOMAINS), ("year", YEARS)])
    some, inside = random.sample(values, random.randint(1, len(values))), random.random() < 0.5
    text = f"{field} {'in' if inside else 'not in'} {some!r}"
    return Rule(text, lambda d, q: _compared(d.get(field), some, lambda one, among: (one in among) is inside))


def _compared(one: Any, other: Any, compare: Callable[[Any, Any], bool]) -> Truth:  # noqa: ANN401 - metadata
    return None if one is None or other is None else compare(one, other)


def _negated(one: Truth) -> Truth:
    return None if one is None else not one


def _both(one: Truth, other: Truth) -> Truth:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _either(one: Truth, other: Truth) -> Truth:
    return _negated(_both(_negated(one), _negated(other)))
