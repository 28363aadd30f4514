"""The command line: `hardneg mine CONFIG`, a command for each stage, `plan` and `evaluate`."""

import io
import json
import logging
import os
import sys
from contextlib import redirect_stdout, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operators.errors import InputError, one_line
from pipelines import detection, text
from pipelines.runtime.exit_status import FAILED, INTERRUPTED, end_of

if TYPE_CHECKING:
    from pipelines.runtime.config import RunConfig

app = typer.Typer(
    name="hardneg",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Turn a corpus, queries and judgements into hard-negative training data.\n\n"
        "`hardneg mine CONFIG` does everything: prepare, encode, index, search, select, export, report. Each of these "
        "is a command too: it runs what comes before it, and reuses what is there already. `hardneg plan CONFIG` says "
        "what would run. Ready configurations are in `configs/`."
    ),
)

ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file; those in configs/ are ready to use.")]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one key, such as `select.relative_margin=0.05`. Repeatable."
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="local|ray|beam", help="Where to run. `ray` is the default; `local` is this process."
    ),
]
BeamOptions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- BEAM OPTIONS]", help="With `--engine beam`: its pipeline options, after `--`."),
]
RunPath = Annotated[
    str, typer.Argument(metavar="RUN", help="The run directory: a path or an fsspec URI; or a configuration.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object, the last line of standard output.")
]


def _command(stage: str, does: str) -> None:
    def run(
        config: ConfigPath,
        beam_options: BeamOptions = None,
        settings: Setting = None,
        engine: EngineName = None,
        as_json: AsJson = False,
    ) -> None:
        _run(_load(config, settings, engine, beam_options), as_json, until=stage)

    app.command(stage, help=does)(run)


def _run(config: "RunConfig", as_json: bool, first: str | None = None, until: str | None = None) -> None:
    from pipelines.run import mine

    with redirect_stdout(sys.stderr):  # where a worker dies, Ray prints that; standard output is the result's alone
        result = mine(config, first=first, until=until).to_dict()
    if as_json:
        _print_json(result)
    else:
        _print_summary(result)


@app.command(
    "mine", help="Mine: from sources to training data and a report. What an earlier run did already is reused."
)
def mine(  # noqa: PLR0913, PLR0917 - the options of a command
    config: ConfigPath,
    beam_options: BeamOptions = None,
    settings: Setting = None,
    engine: EngineName = None,
    as_json: AsJson = False,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="Run nothing before this stage; earlier stages must be complete."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Run nothing after this stage.")] = None,
) -> None:
    """Mine, or do some of the stages of it."""
    _run(_load(config, settings, engine, beam_options), as_json, first, until)


# Of a name that several pipelines have, the first one says what it does.
for _name, _does in {**detection.COMMANDS, **text.COMMANDS}.items():
    _command(_name, _does)
_command("report", "Write the report: what every stage did, dropped and found. Runs what is missing before it.")


@app.command("plan", help="Show what `mine` would run, what it would reuse and what it needs. Runs and writes nothing.")
def plan(config: ConfigPath, settings: Setting = None, engine: EngineName = None, as_json: AsJson = False) -> None:
    """Show the plan."""
    from pipelines.run import plan as describe
    from pipelines.runtime.plan import show

    loaded = _load(config, settings, engine)
    with redirect_stdout(sys.stderr):
        described = describe(loaded)
    if as_json:
        _print_json(described)
    else:
        show(described)


@app.command("status", help="Show how far a run is: stages, parts, rates, time left. Reads the run directory alone.")
def status(run: RunPath, as_json: AsJson = False) -> None:
    """Show the status."""
    from pipelines.run import status as look
    from pipelines.runtime.status import show

    found = look(run)
    if as_json:
        _print_json(found)
    else:
        show(found)


@app.command(
    "verify",
    help="Compare every file of a run with its size and checksum. Exit status 1: damaged, or not complete.",
)
def verify(run: RunPath, as_json: AsJson = False) -> None:
    """Verify a run directory."""
    from pipelines.run import verify as compare
    from pipelines.runtime.verify import show

    result = compare(run)
    if as_json:
        _print_json(result)
    else:
        for line in show(result):
            typer.echo(line)
    if result["state"] != "whole":
        sys.exit(FAILED)


@app.command("evaluate", help="Print nDCG@10, MRR@10 and recall of the encoder and the index, over judged queries.")
def evaluate(
    config: ConfigPath,
    split: Annotated[
        str | None, typer.Option(help="The split of a BEIR folder whose judgements to score.", show_default="test")
    ] = None,
    settings: Setting = None,
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate on one split; the corpus' vectors and index are those of the run."""
    from pipelines.text.config import Config
    from pipelines.text.evaluation import evaluate as run_evaluation

    loaded = _load(config, settings, engine)
    if not isinstance(loaded, Config):
        raise InputError(f"{config}: only the text pipeline can be evaluated.")
    with redirect_stdout(sys.stderr):
        result = run_evaluation(loaded, split)
    if as_json:
        _print_json(result)
        return
    for name, value in result["measures"].items():
        typer.echo(f"{name:12} {value:.4f}")


@app.command(
    "calibrate",
    help="Hide known positives, fit the false-negative model on them, and compare it with the classic rules.",
)
def calibrate(config: ConfigPath, settings: Setting = None, engine: EngineName = None, as_json: AsJson = False) -> None:
    """Calibrate on the judgements of a run; its vectors, index and candidates are reused."""
    from pipelines.text.calibration import run_calibration
    from pipelines.text.calibration_table import lines_of
    from pipelines.text.config import Config

    loaded = _load(config, settings, engine)
    if not isinstance(loaded, Config):
        raise InputError(f"{config}: only the text pipeline can be calibrated.")
    with redirect_stdout(sys.stderr):
        result = run_calibration(loaded)
    if as_json:
        _print_json(result)
        return
    for line in lines_of(result):
        typer.echo(line)


def main() -> None:
    """Run the command line. Exit status: 0 complete, 2 refused, 3 another run is at work, 130 interrupted, 1 else."""
    # Read by the libraries when they are imported, here and in the workers.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning on machines without a GPU
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's C++ side would write into our standard error
    # A request that fails is raised where it is waited for; what is left of its connection would be printed as well.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the locale knows fewer characters than a message has
    with suppress(FileNotFoundError):  # the current folder is gone
        sys.path.append(os.getcwd())  # `module:name` of the user's own, as `python -m` finds it
    try:
        status = app(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # at the end of the process a full disk would go unnoticed
    except Exception as error:
        ending = end_of(error)
        if ending is None:
            raise
        _end(*ending)
    except KeyboardInterrupt:
        _end(*INTERRUPTED)
    if status == INTERRUPTED[1]:
        _end(*INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _end(message: str, status: int) -> None:
    with suppress(OSError):  # the reader is gone
        if message:
            print(f"hardneg: {one_line(message)}", file=sys.stderr, flush=True)  # noqa: T201
    # What is left in the buffers has no reader either, where it could not be written.
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _load(
    config: str, settings: list[str] | None, engine: str | None, beam_options: list[str] | None = None
) -> "RunConfig":
    from pipelines.config import load

    loaded = load(config, settings or [], engine)
    if not beam_options:
        return loaded
    if loaded.engine.name != "beam":
        raise InputError(f"{beam_options[0]}: Beam's options, those after `--`, go with `--engine beam`.")
    options = (*loaded.engine.beam_options, *beam_options)
    return loaded.model_copy(update={"engine": loaded.engine.model_copy(update={"beam_options": options})})


def _print_summary(result: dict[str, Any]) -> None:
    for name, uri in result["outputs"].items():
        typer.echo(f"{name:16} {uri}")
    peak = f"{result['peak_rss_mib']:,} MiB peak memory (all processes)"
    typer.echo(f"{result['seconds']:.1f} s, {peak}")


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value))


if __name__ == "__main__":
    main()
