"""Cases of configurations: a right one with wrong values, keys, YAML, run directories, factories and settings."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz.case import Case
from tests.fuzz.collection import RefusedError, Settings
from tests.fuzz.damage import damaged_content
from tests.fuzz.judging import judge
from tests.fuzz.oracle import mine
from tests.fuzz.outcome import Expected
from tests.fuzz.pools import FACTORIES, KEYS, RUNS, SETTINGS, THRESHOLDS, VALUES
from tests.fuzz.simple import simple_collection, simple_config

Mutate = Callable[[Case, Random, Path, dict[str, Any]], tuple[str, list[str], str]]


def config_case(case: Case, random: Random, folder: Path) -> None:
    """Spoil a configuration, run it, and hold the result against the oracle's for what the run took it for."""
    (folder / "taken").write_text("a file of the user's", encoding="utf-8")
    config = simple_config(folder, relative=True)
    mutate = random.choice(
        [_value, _value, _value, _value, _key, _yaml, _yaml, _bytes, _setting, _setting, _run, _factory]
    )
    text, settings, must = mutate(case, random, folder, config)
    path = folder / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = _tree(folder)
    arguments = ["mine", str(path), "--json", *(part for one in settings for part in ("--set", one))]
    outcome = case.run(arguments, folder)
    _unchanged(case, folder, before, refused=outcome.code != 0 or bool(outcome.crash))
    if outcome.crash or case.findings:
        return
    if outcome.code == 0:
        run = folder / outcome.result["run"].removeprefix("file://")
        if not (run / "config.json").exists():  # in memory, or in another place that is no folder
            return
        config = json.loads((run / "config.json").read_text("utf-8"))
        expected = _expected(config, must)
        judge(case, outcome, expected, run, config["export"]["formats"])
    elif outcome.code != 2:
        case.findings.append(f"exit status {outcome.code}: {outcome.message}")


def _expected(config: Mapping[str, Any], must: str) -> Expected:
    if must:
        return Expected(None, must_refuse=True, why=must)
    if config["index"]["factory"] not in {"auto", "exact"} or config["encoder"]["similarity"] != "dot":
        return Expected(None, why="codes, or lengths that are not exact")
    if config["data"]["corpus"]["columns"] != {"vector": "vector"} or "title" in config["data"]["corpus"]["columns"]:
        return Expected(None, why="other columns")
    try:
        mined = mine(simple_collection(), Settings.of(config))
    except RefusedError as refused:
        return Expected(None, must_refuse=True, why=str(refused))
    return Expected(None if mined.close else mined)


def _tree(folder: Path) -> dict[str, bytes | None]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not name.startswith("temporary"):
            found[name] = path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else None
    return found


def _unchanged(case: Case, folder: Path, before: Mapping[str, bytes | None], *, refused: bool) -> None:
    after = _tree(folder)
    gone = [
        name
        for name, content in before.items()
        if name not in after or (content is not None and after[name] != content)
    ]
    if gone:
        case.findings.append(f"files of the user's are gone or changed: {', '.join(gone[:5])}")
    new = sorted(after.keys() - before.keys())
    if refused and new:
        case.findings.append(f"a refusal left {', '.join(new[:5])} behind")


def _put(config: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - YAML
    place = config
    *above, last = key.split(".")
    for name in above:
        if not isinstance(place.get(name), dict):
            place[name] = {"path": place[name]} if isinstance(place.get(name), str) else {}
        place = place[name]
    place[last] = value


def _value(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    del folder
    must = ""
    for _ in range(random.choice([1, 1, 2])):
        key, value = random.choice([*KEYS, *THRESHOLDS, *THRESHOLDS]), random.choice(VALUES)
        _put(config, key, value)
        case.notes.append(f"{key}: {str(value)[:100]!r}")
        if isinstance(value, float) and math.isnan(value) and key in THRESHOLDS:
            must = f"{key} is no number"
        if key in {"search.k", "select.num_negatives"} and isinstance(value, float) and not value.is_integer():
            must = f"{key} is no whole number"
    must = "" if len({line.split(":")[0] for line in case.notes}) < len(case.notes) else must
    return yaml.safe_dump(config, allow_unicode=True), [], must


def _key(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    del folder
    key = random.choice(KEYS[2:])
    changed = random.choice([f"{key}x", f"{key}.more", key.upper(), f"x.{key}", f" {key}"])
    _put(config, changed, random.choice([1, "x", None]))
    case.notes.append(f"a key {changed}")
    return (
        yaml.safe_dump(config),
        [],
        "" if key == "storage_options" or ".columns" in key or ".storage_options" in key else "an unknown key",
    )


def _yaml(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    del folder
    text = yaml.safe_dump(config)
    made = {
        "a key twice": (text + "search: {k: 9}\n", "a key twice"),
        "a key twice, deeper": (text.replace("select:\n", "select:\n  num_negatives: 1\n", 1), "a key twice"),
        "the same twice": (text + text, "keys twice"),
        "deep lists": (text + "x: " + "[" * 5000 + "\n", "deep lists"),
        "deep maps": (text + "x: " + "{a: " * 3000 + "\n", "deep maps"),
        "deep and closed": (text + "x: " + "[" * 3000 + "]" * 3000 + "\n", "deep lists"),
        "a tab": (text.replace("  ", "\t", 1), ""),
        "not closed": (text + 'x: "\n', "a quote that is not closed"),
        "two documents": (text + "---\n" + text, "two documents"),
        "a tag": (text + "x: !!python/object/apply:os.getcwd []\n", "a tag"),
        "itself": (text + "x: &a [*a]\n", "a list that holds itself"),
        "a bomb": (
            text
            + "a: &a [x,x]\n"
            + "".join(
                f"b{i}: &b{i} [*{'a' if not i else f'b{i - 1}'},*{'a' if not i else f'b{i - 1}'}]\n" for i in range(40)
            ),
            "a bomb",
        ),
        "a merge": (text + "<<: {search: {k: 9}}\n", ""),
        "empty": ("", "empty"),
        "a list": ("- run\n- data\n", "a list"),
        "a word": ("run", "a word"),
        "null": ("null\n", "null"),
        "a mark": ("\ufeff" + text, ""),
        "bad bytes": (text + "x: \udcff\udcfe\n", "bytes that are no text"),
        "a zero byte": (text + "x: \0\n", "a zero byte"),
        "a date": (text.replace("k: 10", "k: 2024-02-30"), "a date that is none"),
        "a large number": (text.replace("k: 10", "k: " + "9" * 6000), "a number that is too large"),
        "returns": (text.replace("\n", "\r\n"), ""),
        "keys of other kinds": (text + "1: 2\nnull: 3\n[a]: 4\n", "keys of other kinds"),
        "numbers with colons": (text.replace("k: 10", "k: 1:40"), ""),
        "octal": (text.replace("k: 10", "k: 012"), ""),
    }
    name = random.choice(sorted(made))
    case.notes.append(name)
    return made[name][0], [], made[name][1]


def _bytes(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    del folder
    content = yaml.safe_dump(config).encode()
    change = random.choice(["flip", "insert", "delete", "truncate", "0xff", "zero tail"])
    place = random.randrange(len(content))
    case.notes.append(f"{change} at {place}")
    return damaged_content(random, content, change, place).decode("utf-8", "surrogateescape"), [], ""


def _setting(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    del folder
    settings = random.sample(SETTINGS, random.choice([1, 1, 2]))
    case.notes.append(f"--set {settings}")
    return yaml.safe_dump(config), settings, "no number" if any("nan" in one for one in settings[-1:]) else ""


def _run(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    run = random.choice(RUNS)
    config["run"] = run
    if run in {"sources", ".", "dataset"}:
        (folder / "dataset" / "triplet").mkdir(parents=True)
        (folder / "dataset" / "mine.txt").write_text("a file of the user's", encoding="utf-8")
    case.notes.append(f"run: {run[:100]!r}")
    return yaml.safe_dump(config, allow_unicode=True), [], "an empty run directory" if not run else ""


def _factory(case: Case, random: Random, folder: Path, config: dict[str, Any]) -> tuple[str, list[str], str]:
    del folder
    factory = random.choice(FACTORIES)
    config["index"] = {"factory": factory, "shard_rows": random.choice([5, 1000])}
    case.notes.append(f"index.factory: {factory}")
    case.way = "command"
    return yaml.safe_dump(config, allow_unicode=True), [], ""
