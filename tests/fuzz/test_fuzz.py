"""A short fuzzing with fixed seeds; `make fuzz` tries thousands with a fresh one."""

from tests.fuzz.fuzzing import fuzz, names_of

SEED = 1
CASES = {"source": 50, "config": 25, "run": 20, "model": 3}
COMMANDS = 3


def test_no_case_finds_anything() -> None:
    from tests.fuzz.case import way_of

    names = []
    for kind, count in CASES.items():
        of_kind = names_of(3 * count, SEED, [kind])
        ways = {
            way: [name for name in of_kind if way_of(kind, int(name.partition(":")[2])) == way]
            for way in ("process", "command")
        }
        names += ways["process"][:count] + ways["command"][: COMMANDS // 3 if kind != "model" else 0]
    report = fuzz(names, jobs=2)
    assert not report.found, "\n".join(report.lines())
