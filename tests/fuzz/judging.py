"""Hold how a run ended against what must come of it."""

from pathlib import Path

from tests.fuzz.case import Case
from tests.fuzz.checking import compare, promises
from tests.fuzz.interpret import BEYOND_FLOAT16
from tests.fuzz.outcome import REFUSED, Expected, Outcome


def judge(case: Case, outcome: Outcome, expected: Expected, run: Path, formats: list[str]) -> None:
    """Hold how a run of stages ended against what must come of it."""
    if outcome.crash or case.findings:
        return
    if outcome.code == REFUSED:
        if not (expected.must_refuse or expected.may_refuse):
            case.findings.append(f"refused: {outcome.message}")
        # Vectors that were encoded serve any run, whatever refuses the others.
        left = {path.name for path in run.iterdir()} if run.exists() else set()
        if left - ({"encode"} if expected.why == BEYOND_FLOAT16 else set()):
            case.findings.append(f"a refusal left {sorted(path.name for path in run.iterdir())} behind")
    elif outcome.code:
        case.findings.append(f"exit status {outcome.code}: {outcome.message}")
    elif expected.must_refuse:
        case.findings.append(f"not refused: {expected.why}")
    else:
        try:
            found = promises(run, outcome.result, formats)
            found = found or (compare(run, outcome.result, expected.mined, formats) if expected.mined else [])
        except (ValueError, KeyError, OSError) as error:
            found = [f"the training data cannot be read: {type(error).__name__}: {error}"]
        case.findings += found
