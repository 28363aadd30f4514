"""A short fuzzing with fixed seeds; `make fuzz` tries thousands with a fresh one."""

import pytest

from tests.fuzz.fuzzing import ROOT, fuzz, names_of
from tests.fuzz.sensitivity import PATCHES, Patch

SEED = 1
CASES = {"source": 28, "config": 25, "run": 18, "model": 3, "mixed": 12}
WITHOUT_COMMANDS = {"model", "mixed"}


def test_no_case_finds_anything() -> None:
    from tests.fuzz.case import way_of

    names = []
    for kind, count in CASES.items():
        of_kind = names_of(3 * count, SEED, [kind])
        ways = {
            way: [name for name in of_kind if way_of(kind, int(name.partition(":")[2])) == way]
            for way in ("process", "command")
        }
        names += ways["process"][:count] + ways["command"][: int(kind not in WITHOUT_COMMANDS)]
    report = fuzz(names, jobs=2)
    assert not report.found, "\n".join(report.lines())


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_what_a_patch_undoes_is_in_the_code(patch: Patch) -> None:
    assert (ROOT / patch.file).read_text(encoding="utf-8").count(patch.old) >= 1
