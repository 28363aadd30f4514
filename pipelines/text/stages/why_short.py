"""Why most rows stayed short of a draw, and what helps."""

from collections.abc import Mapping

from operators.candidates.config import SelectConfig
from operators.candidates.draw import Draw
from operators.candidates.filter import CAPPED, NEGATIVE, NO_RULE, NOT_DRAWN, POSITIVES, WINDOW
from operators.candidates.short_draws import ROWS, WANTING
from operators.candidates.sources import SEARCH
from operators.errors import shown

# What is no loss of a draw: it took these, may not have them, or has them to take.
_NO_LOSS = {NEGATIVE, NOT_DRAWN, *POSITIVES, WINDOW[1], ROWS, WANTING}


def why_short(config: SelectConfig, draw: Draw, counts: Mapping[str, int]) -> str:
    """Return the cause that most rows have which a draw left short, and its remedy, as a sentence.

    Args:
        config: of the selection.
        draw: left rows short.
        counts: what became of the candidates of its source in these rows.
    """
    lost = {reason: count for reason, count in counts.items() if reason not in _NO_LOSS}
    window = config.window_of(draw)
    inside = sum(counts.get(name, 0) for name in (NEGATIVE, CAPPED, NOT_DRAWN))
    full = inside >= counts[ROWS] * (window.end - window.first)
    # More candidates of the search come with a larger search.k, unless the window is full already.
    deeper = ", or raise search.k" if draw.source in {None, SEARCH} and not full else ""
    if sum(lost.values()) < counts[WANTING]:
        return _too_few(draw, full)
    worst = max(lost, key=lambda reason: lost[reason])
    if worst == CAPPED:
        larger = "range_max" if full else "it"
        return f"Most were kept from rows by {CAPPED}: raise {larger}{deeper}."
    if worst == NO_RULE:
        return f"Most did not meet `where`: loosen the rule{deeper}."
    if worst == WINDOW[0]:
        return f"Most were skipped by {worst}: lower it{deeper}."
    if worst == "max_false_negative_probability" and config.target_false_negative_rate is not None:
        return f"Most were dropped by the limit that target_false_negative_rate gives: raise the rate{deeper}."
    by_rank = {one.reason for one in config.active_filters() if one.depth() is not None}
    return f"Most were dropped by {worst}: loosen it{'' if worst in by_rank else deeper}."


def _too_few(draw: Draw, full: bool) -> str:
    if full:
        return "The window is too small: raise range_max."
    if draw.where is not None:
        return f"Too few candidates meet {shown(draw.where)}: loosen it, or let a proposer name documents that meet it."
    if draw.source in {None, SEARCH}:
        return "There are too few candidates: raise search.k."
    return f"The source {shown(draw.source)} named too few: lower num_negatives, or add a draw with `fill: true`."
