"""Read a configuration: one YAML file, `--set` on top of it, checked as a whole before anything starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from operators.errors import InputError, shown
from operators.plugins import imported
from operators.settings_errors import OPTIONS
from pipelines.runtime.config import RunConfig, check_engine
from pipelines.runtime.config_errors import explained
from pipelines.runtime.yaml_file import LONGEST_FILE, NotYamlError, parse

# Each pipeline by its name: the class of its configuration, as `module:name`.
PIPELINES = {"text": "pipelines.text.config:Config", "detection": "pipelines.detection.config:DetectionConfig"}
DEFAULT = "text"


def load(path: str, settings: Sequence[str] = (), engine: str | None = None) -> RunConfig:
    """Read a configuration file and put `key.path=value` settings on top of it.

    Raises:
        InputError: the file cannot be read, or a key or value in it or in a setting is wrong.
    """
    raw = _read(path)
    kind = _class_of(path, raw.get("pipeline", DEFAULT))
    for setting in settings:
        _put(raw, setting, kind.shorthands)
    if engine is not None:
        check_engine("--engine", engine)
        _put(raw, f"engine.name={engine}", kind.shorthands)
    try:
        config = kind.model_validate(raw)
    except ValidationError as error:
        raise InputError(explained(error, kind, path, [setting.partition("=")[0] for setting in settings])) from None
    config.check()
    return config


def _class_of(path: str, pipeline: object) -> type[RunConfig]:
    """Return the class of a pipeline's configuration, by the name of the pipeline or as `module:name`."""
    place = PIPELINES.get(pipeline, pipeline) if isinstance(pipeline, str) else ""
    try:
        found = imported(place) if ":" in place else None
    except ValueError as error:
        raise InputError(f"{path}: pipeline: {error}.") from None
    if not (isinstance(found, type) and issubclass(found, RunConfig)):
        raise InputError(
            f"{path}: pipeline: {shown(pipeline)} is no pipeline. Name one of {', '.join(PIPELINES)}, or the class of "
            f"its configuration as `module:name`."
        )
    if not getattr(found, "groups", None):
        raise InputError(f"{path}: pipeline: {shown(pipeline)} has no `groups`: name -> what the command of it does.")
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = parse(file.read(LONGEST_FILE + 1))
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such file. Ready configurations are in configs/.") from None
    except NotYamlError as error:  # it quotes no line: a secret may stand there
        line = f", line {error.line}" if error.line else ""
        raise InputError(f"{path}{line}: not YAML: {error}.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{shown(path)}: this cannot be read as a configuration file: {why}.") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a mapping of keys is wanted, such as `run: runs/first`.")
    return raw


def _put(raw: dict[str, Any], setting: str, shorthands: Mapping[str, str]) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise InputError(
            f"--set {OPTIONS if OPTIONS in setting else shown(setting)}: `key.path=value` is wanted, such as "
            f"select.relative_margin=0.05."
        )
    try:
        parsed = parse(value)
    except NotYamlError as error:
        raise InputError(f"--set {key}: the value is not YAML: {error}.") from None
    place, names = raw, key.split(".")
    for depth, name in enumerate(names[:-1]):
        inner = place.get(name)
        if ".".join(names[: depth + 1]) in shorthands and isinstance(inner, str | list):
            inner = {shorthands[".".join(names[: depth + 1])]: inner}
        place[name] = dict(inner) if isinstance(inner, dict) else {}
        place = place[name]
    place[names[-1]] = parsed
