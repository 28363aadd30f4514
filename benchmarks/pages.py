"""What the pages of all benchmarks have: the command that made them, the machine, tables, medians with their spread."""

import argparse
import platform
import shlex
import statistics
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

LIBRARIES = ("faiss-cpu", "numpy", "pyarrow", "ray", "sentence-transformers", "torch")
COLUMNS = 120
SCRATCH = Path("build/benchmarks")
_NOT_SHOWN = "--scratch"  # where the files lay is nobody else's concern


def parser(does: str | None, rounds: int | None = 1) -> argparse.ArgumentParser:
    """Return a parser with the options that benchmarks share.

    Args:
        does: the docstring of the command.
        rounds: how often everything is run by default; None leaves the option out.
    """
    made = argparse.ArgumentParser(description=does, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(_NOT_SHOWN, type=Path, default=SCRATCH, help=f"where runs are written; default {SCRATCH}")
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds, help=f"how often all is run; default {rounds}")
    return made


def heading(title: str, module: str) -> str:
    """Return the top of a page: its title, the command that made it, the machine and the versions."""
    return f"# {title}\n\n```bash\n{command(module, sys.argv[1:])}\n```\n\n{_machine()}"


def command(module: str, arguments: Sequence[str]) -> str:
    """Return the command line of a benchmark, as anybody may type it."""
    shown, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(_NOT_SHOWN):
            shown.append(argument)
        skip = argument == _NOT_SHOWN
    return shlex.join(["python", "-m", f"benchmarks.{module}", *shown])


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{_processor()}, {psutil.cpu_count()} cores, {memory:.0f} GiB; hardneg {version('hardneg')}, "
        f"Python {platform.python_version()}, {libraries}."
    )


def _processor() -> str:
    source = Path("/proc/cpuinfo")
    lines = source.read_text(encoding="utf-8").splitlines() if source.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median, with the lowest and highest where there are several."""
    median = f"{statistics.median(values):,.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def rounds_of(count: int) -> str:
    """Say how many rounds a table has."""
    return "One round." if count == 1 else f"Medians (lowest-highest) of {count} rounds, in turn."


def goal(met: bool | None, wanted: str) -> str:
    """Say of a goal whether it is met; None is not known."""
    return f"- {wanted}: {'not measured' if met is None else 'met' if met else '**missed**'}"


def tell(line: str) -> None:
    """Say how far the benchmark is."""
    print(line, file=sys.stderr, flush=True)


def write(module: str, sections: Sequence[str], folder: Path = Path(__file__).parent) -> None:
    """Write the page of a benchmark, beside its module or in another folder, and print it."""
    blocks = "\n\n".join(sections).split("\n\n")
    page = "\n\n".join(map(_wrapped, blocks)) + "\n"
    (folder / f"{module}.md").write_text(page, encoding="utf-8")
    print(page)


def _wrapped(block: str) -> str:
    if block.startswith(("#", "|", "!", "- ", "```")):
        return block
    return textwrap.fill(block, COLUMNS, break_long_words=False, break_on_hyphens=False)
