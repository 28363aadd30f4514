"""Run a command, in this process or as a command, and look at how it ended."""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.oracle import Mined

SECONDS = 120
LONGEST = 400
REFUSED = 2
ROOT = Path(__file__).parents[2]
# A message says what to do: one of these words, or what is wanted.
_REMEDY = re.compile(
    r"\b(use|set|give|name|check|correct|change|choose|raise|lower|try|write|put|spread|look|rename|remove|delete|move|"
    r"wait|run|start|leave|make|add|free|save|shorten|restore|install|replace|convert|encode|mend|split|wanted|expected|"
    r"should|must|valid|needs?|is the file complete|did you mean|or)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Expected:
    """What must come of a case.

    Attributes:
        mined: the result; None where any that keeps the promises will do.
        may_refuse: a refusal is right, too.
        must_refuse: nothing else is.
        why: of the last two.
    """

    mined: Mined | None
    may_refuse: bool = False
    must_refuse: bool = False
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: the exit status.
        out: standard output.
        err: standard error.
        crash: what it ended with instead of an exit status.
    """

    code: int
    out: str
    err: str
    crash: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """The last line of standard output, as JSON."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found

    @property
    def message(self) -> str:
        """The line that says why it ended."""
        lines = [line for line in self.err.splitlines() if line.startswith("hardneg: ")]
        return lines[-1] if lines else ""

    def faults(self) -> list[str]:
        """Say what is wrong with any command that ends like this."""
        if self.crash:
            return [self.crash]
        found = []
        if "Traceback (most recent call last)" in self.err:
            found.append(f"traceback: {self.err.strip().splitlines()[-1][:300]}")
        if self.code not in {0, 1, 2, 3}:
            found.append(f"exit status {self.code}: {self.err.strip()[-300:]}")
        if self.code in {1, 2, 3} and not found:
            found += self._faults_of_message()
        if re.search(r"^\S*: \w*Warning: ", self.err, re.MULTILINE):
            found.append(f"a warning of a library: {_line_with(self.err, 'Warning: ')}")
        return found

    def _faults_of_message(self) -> list[str]:
        lines = self.err.strip().splitlines()
        said = [line for line in lines if line.startswith("hardneg: ")]
        if len(said) != 1 or lines[-1] != said[0]:
            return [f"not one line at the end: {self.err.strip()[-400:]!r}"]
        text = said[0].removeprefix("hardneg: ")
        if len(text) > LONGEST:
            return [f"a message of {len(text)} characters: {text[:100]!r}"]
        if not text.isprintable():
            return [f"a message that cannot be printed: {text!r}"]
        # Of a key of the configuration it is enough to say what may not stand there.
        of_a_key = re.match(r"\S+\.yaml[:,] |--set |not YAML", text)
        return [] if of_a_key or _REMEDY.search(text) else [f"no remedy: {text!r}"]


def _line_with(text: str, part: str) -> str:
    return next(line for line in text.splitlines() if part in line)[:300]


def in_process(arguments: Sequence[str], folder: Path) -> Outcome:
    """Call what the command line calls, in a folder."""
    from pipelines.cli import main

    out, err = io.StringIO(), io.StringIO()
    before, argv, temporary = os.getcwd(), sys.argv, tempfile.tempdir
    code: Any = 0
    os.chdir(folder)
    sys.argv, tempfile.tempdir = ["hardneg", *arguments], str(_temporary(folder))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        said = " ".join(str(error).split())[:200]
        return Outcome(1, out.getvalue(), err.getvalue(), f"traceback: {type(error).__name__}: {said} ({place})")
    finally:
        os.chdir(before)
        sys.argv, tempfile.tempdir = argv, temporary
    return Outcome(0 if code is None else int(code), out.getvalue(), err.getvalue())


def as_command(arguments: Sequence[str], folder: Path) -> Outcome:
    """Run the command line, in a folder."""
    path = os.environ.get("HARDNEG_FUZZED", str(ROOT))
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TMPDIR": str(_temporary(folder))}
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Outcome(1, "", "", f"it hangs: nothing after {SECONDS} s")
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    crash = f"killed by signal {-done.returncode}: {err.strip()[-300:]}" if done.returncode < 0 else ""
    return Outcome(done.returncode, out, err, crash)


def _temporary(folder: Path) -> Path:
    place = folder / "temporary"
    place.mkdir(exist_ok=True)
    return place


def leftovers(folder: Path) -> list[str]:
    """Name the temporary files that a command left behind."""
    unfinished = [path.name for path in folder.rglob("*.unfinished")]
    found = unfinished + [path.name for path in (folder / "temporary").rglob("*")]
    return [f"left behind: {', '.join(sorted(found)[:5])}"] if found else []
