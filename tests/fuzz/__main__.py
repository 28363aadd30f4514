"""`python -m tests.fuzz`: try many cases, or one again by its name."""

import argparse
import secrets
import sys
from pathlib import Path

from tests.fuzz.fuzzing import SHARES, Done, fuzz, names_of, serve


def main() -> int:
    """Run the command line; the exit status is 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="how many (300)")
    parser.add_argument("--seed", type=int, help="of the cases; a fresh one, which is printed")
    parser.add_argument("--kinds", default=",".join(SHARES), help=f"some of {','.join(SHARES)}")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--case", metavar="KIND:SEED", help="run this one alone, and print all of it")
    parser.add_argument("--way", choices=["process", "command"], help="of --case; its own where none is given")
    parser.add_argument("--keep", type=Path, help="of --case: an empty folder to write to, which stays")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(sys.stdin)
        return 0
    if options.case:
        return _one(options)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    report = fuzz(names_of(options.cases, seed, options.kinds.split(",")), options.jobs, _tell)
    print("\n".join(report.lines()))
    return int(bool(report.found))


def _tell(done: Done) -> bool:
    if done.findings:
        print(f"{done.name}: {done.findings[0][:300]}", flush=True)
    return False


def _one(options: argparse.Namespace) -> int:
    from tests.fuzz.cases import run_case

    kind, _, seed = options.case.partition(":")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    case = run_case(kind, int(seed), options.way, options.keep)
    print("\n".join([f"{case.name}, {case.way}", *case.notes, f"{case.seconds:.2f} s"]))
    print("\n".join(f"FOUND {finding}" for finding in case.findings) or "nothing found")
    return int(bool(case.findings))


if __name__ == "__main__":
    sys.exit(main())
