"""Warn of stages that lose most of what they got: a wrong column, a wrong marker, too strict a margin."""

from collections.abc import Mapping
from typing import Any

from operators.candidates.filters import NOT_DRAWN
from operators.datasets.card import filled
from operators.errors import one_line

MOST = 0.5
LONGEST_PLACE = 200
EXPECTED = {"positive", NOT_DRAWN, "range_max", "query_not_judged"}


def losses(stage: str, manifest: Mapping[str, Any]) -> list[str]:
    """Return a line for everything in a stage's manifest that its user would want to know of."""
    dropped = {reason: count for reason, count in manifest["dropped"].items() if reason not in EXPECTED}
    if stage == "select":
        return _short(manifest, dropped)
    if stage.startswith("search/"):
        recalls = [one["recall"] for one in manifest.get("rounds", [manifest])]
        missed = [recall for recall in recalls if recall is not None and not recall["reached"]]
        return [f"{stage}: recall@{one['k']} {one['recall']:.3f}; {one['why']}" for one in missed]
    empty = manifest.get("empty_files", 0)
    said = [f"{stage}: {_without_rows(empty, manifest.get('first_empty'))}"] if empty else []
    lost = [(reason, count) for reason, count in dropped.items() if count > MOST * manifest["rows_in"]]
    return said + [f"{stage}: {reason} dropped {count:,} of {manifest['rows_in']:,} rows" for reason, count in lost]


def _without_rows(files: int, first: str | None) -> str:
    named = "" if first is None else f" ({one_line(first, LONGEST_PLACE)}{', ...' if files > 1 else ''})"
    return f"{files:,} source {'file has' if files == 1 else 'files have'} no rows{named}"


def _short(manifest: Mapping[str, Any], dropped: Mapping[str, int]) -> list[str]:
    short = manifest["short_rows"] + manifest["empty_rows"]
    if short <= MOST * manifest["pairs"]:
        return []
    worst = max(dropped, key=lambda reason: dropped[reason], default=None)
    remedy = f"Most were dropped by {worst}: loosen it, or raise search.k." if worst else "The corpus has too few."
    return [f"select: {filled(manifest['pairs'], manifest['short_rows'], manifest['empty_rows'])}. {remedy}"]
