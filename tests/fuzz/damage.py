"""Ways to damage a source: its rows before they are written, or the bytes of a file."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.interpret import Source


@dataclass(frozen=True)
class Damage:
    """A file, and what was done to it."""

    path: Path
    description: str


def damage_rows(random: Random, source: Source) -> str:
    """Change some cells of a source, or all of a column; return what was done."""
    role = random.choice(sorted(source.roles))
    column = source.roles[role]
    which = random.randrange(len(source.files))
    rows = [dict(row) for row in source.files[which]]
    source.files[which] = list(rows)
    if not rows:
        return "nothing: there are no rows"
    place = random.randrange(len(rows))
    at = f"{source.kind} file {which} row {place} {role}"
    change = random.choice(["null", "empty", "delete", "kind", "all nulls", "nan", "other"])
    if change == "delete":
        for row in rows:
            row.pop(column, None)
        return f"{source.kind} file {which}: no column {column}"
    if change == "all nulls":
        for row in rows:
            row[column] = None
        return f"{source.kind} file {which}: {column} all null"
    rows[place][column] = _other(random, change, rows[place].get(column))
    return f"{at}: {rows[place][column]!r}"


def _other(random: Random, change: str, value: Any) -> Any:  # noqa: ANN401 - a cell
    if change == "null":
        return None
    if isinstance(value, list):
        return _other_list(random, value)
    if change == "nan":
        return math.nan if isinstance(value, float) else value
    if change == "kind" and isinstance(value, int | float):
        return type(value)(random.choice([-1, 7, 100]))
    return random.choice(["", " ", "NA", "d1", "q1", "x" * 5000]) if isinstance(value, str) else value


def _other_list(random: Random, value: list[Any]) -> list[Any]:
    if not value or not isinstance(value[0], float):
        return value[:-1]
    change = random.choice(["short", "long", "nan", "inf", "none", "large", "huge", "empty"])
    return {
        "short": value[:-1],
        "long": [*value, 1.0],
        "nan": [math.nan, *value[1:]],
        "inf": [*value[:-1], -math.inf],
        "none": [None, *value[1:]],
        "large": [1e5, *value[1:]],
        "huge": [1e30, *value[1:]],
        "empty": [],
    }[change]


def damage_bytes(random: Random, path: Path) -> Damage:
    """Damage a file; return what was done."""
    content = path.read_bytes()
    change = random.choice(
        ["truncate", "flip", "insert", "delete", "empty", "folder", "zero tail", "garbage", "missing", "twice", "0xff"]
    )
    place = random.randrange(len(content)) if content else 0
    if change in {"folder", "missing"}:
        path.unlink()
        if change == "folder":
            path.mkdir()
        return Damage(path, f"{path.name}: {change}")
    path.write_bytes(damaged_content(random, content, change, place))
    return Damage(path, f"{path.name}: {change} at {place} of {len(content)}")


def damaged_content(random: Random, content: bytes, change: str, place: int) -> bytes:
    """Return what is left of a file."""
    size = random.choice([1, 1, 1, 4, 16])
    noise = random.randbytes(size)
    return {
        "truncate": content[:place],
        "flip": content[:place] + bytes([content[place] ^ (1 << random.randrange(8))]) + content[place + 1 :]
        if content
        else b"x",
        "insert": content[:place] + noise + content[place:],
        "delete": content[:place] + content[place + size :],
        "empty": b"",
        "zero tail": content[:place] + bytes(len(content) - place),
        "garbage": random.randbytes(max(len(content), 1)),
        "twice": content + content,
        "0xff": content[:place] + b"\xff" + content[place + 1 :],
    }[change]


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
