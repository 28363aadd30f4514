"""Cases of mixed negatives: several proposers, draws with sources and rules, caps; and the same in another order."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.case import Case, write_config
from tests.fuzz.checking import dataset_rows, group_indices, promises, records_of
from tests.fuzz.collection import RefusedError, Settings, key_of
from tests.fuzz.drawn import CheckDrawn
from tests.fuzz.found import Finder
from tests.fuzz.mixture import Mixture, some_mixture
from tests.fuzz.outcome import REFUSED
from tests.fuzz.prepared import Prepared
from tests.fuzz.proposed import check_proposed


def mixed_case(case: Case, random: Random, folder: Path) -> None:
    """Mine with proposers and draws, and check what was proposed, drawn and counted; then mine again otherwise."""
    made = some_mixture(random, folder, may_encode=case.way == "process")
    made.write(random, folder / "data")
    case.notes.append(json.dumps(made.config, default=str, ensure_ascii=False))
    outcome = case.run(["mine", str(write_config(folder, made.config)), "--json", "--until", "export"], folder)
    if outcome.crash or case.findings:
        return
    try:
        prepared = Prepared(made.collection(), Settings.of(made.config))
        if not prepared.judged:
            raise RefusedError("no query has a positive")
    except RefusedError as refused:
        if outcome.code != REFUSED:
            case.findings.append(f"not refused: {refused}")
        return
    if outcome.code:
        case.findings.append(f"exit status {outcome.code}: {outcome.message}")
        return
    case.findings += _checked(outcome.result, made, prepared)
    if not case.findings and random.random() < 0.4:
        _again(case, random, folder, made)


def _checked(result: Mapping[str, Any], made: Mixture, prepared: Prepared) -> list[str]:
    faults, ranks = check_proposed(made, prepared)
    faults = faults or promises(made.run, result, made.config["export"]["formats"])
    if not faults:
        rows = Finder(made, prepared, ranks).rows()
        faults = list(CheckDrawn(made, rows).faults()) if rows is not None else []
    return (faults or _exported(made))[:5]


def _exported(made: Mixture) -> list[str]:
    """Check that the training data hold what was selected, and nothing else."""
    chosen: dict[tuple[int, int], set[int]] = {}
    for one in records_of(made.run, "select", "negatives"):
        chosen.setdefault((one["query_key"], one["positive_key"]), set()).add(one["doc_key"])
    for layout in made.config["export"]["formats"]:
        found = {
            (key_of(group.query.name), key_of(group.positive.name)): {key_of(one.name) for one in group.negatives}
            for group in group_indices(layout, dataset_rows(made.run, layout))
        }
        full = {row: some for row, some in chosen.items() if layout != "n-tuple" or len(some) == made.per_row}
        if found != full:
            return [f"{layout}: the negatives of {len(found)} rows are not those of the {len(full)} selected"]
    return []


def _again(case: Case, random: Random, folder: Path, made: Mixture) -> None:
    """Mine with rows in another order, other partitions and shards, maybe on Beam: the same comes of it."""
    # Beam's runner takes long.
    engine = "beam" if case.way == "command" and random.random() < 0.3 else "local"
    other = made.otherwise(random, folder / "again", engine)
    other.write(random, folder / "again" / "data")
    case.notes.append(f"again: {json.dumps(other.config, default=str, ensure_ascii=False)}")
    outcome = case.run(["mine", str(write_config(folder, other.config)), "--json", "--until", "select"], folder)
    if outcome.crash or case.findings:
        return
    if outcome.code:
        case.findings.append(f"again: exit status {outcome.code}: {outcome.message}")
        return
    for kind in ("negatives", "suspected"):
        first, second = (
            sorted(json.dumps(record) for record in records_of(one.run, "select", kind)) for one in (made, other)
        )
        if first != second:
            some = len(set(first) & set(second))
            case.findings.append(f"again: {len(second)} {kind}, {some} of them among the {len(first)} of before")
