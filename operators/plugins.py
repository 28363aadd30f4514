"""Find what a configuration names: one of our own classes by its short name, or anybody's as `module:name`."""

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import PurePath
from types import ModuleType
from typing import Any, ClassVar, TypeVar, cast, get_origin

import xxhash
from pydantic import ValidationError

from operators.errors import InputError, TransientError, did_you_mean, shown
from operators.settings import Settings
from operators.settings_errors import what_is_wrong

Kind = TypeVar("Kind", bound=Settings)
_NOTHING = object()


@cache
def names_in(package: ModuleType) -> tuple[str, ...]:
    """Return the names of the modules of a package, ascending; the folder is listed once."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


def imported(place: str) -> object:
    """Return what `module:name` stands for.

    Raises:
        ValueError: it cannot be imported.
    """
    module, _, name = place.partition(":")
    try:
        there = importlib.import_module(module)
        found: object = getattr(there, name, _NOTHING)
    except Exception as error:  # the code of a user may raise anything when it is imported
        # Another module that is absent is one that it imports.
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            remedy = "Its folder has to be the current one or on PYTHONPATH"
        else:
            remedy = "It has to be importable: install or correct what it imports"
        raise ValueError(f"{shown(place)} cannot be imported ({type(error).__name__}: {error}). {remedy}") from None
    if found is _NOTHING:
        meant = did_you_mean(name, vars(there))
        raise ValueError(f"{shown(place)}: the module {module} defines no {shown(name)}.{meant} Name what it defines")
    return found


def function_named(place: str) -> Callable[..., Any]:
    """Return the function that `module:name` stands for.

    Raises:
        ValueError: it is none, or cannot be imported.
    """
    found = imported(place) if ":" in place else None
    if not callable(found):
        raise ValueError(f"{shown(place)}: a function is wanted, as `module:function`")
    return found


def code_of_function(place: str) -> str | None:
    """Return a digest of the module that a function is of: its code may change without a change of the configuration.

    Raises:
        ValueError: its source is in no file.
    """
    module = inspect.getmodule(function_named(place))
    try:
        return None if module is None else xxhash.xxh3_128_hexdigest(inspect.getsource(module).encode())
    except (OSError, TypeError):
        raise ValueError(f"{place}: its source is in no file. Define it in a module") from None


def find(name: object, kind: type[Kind], package: ModuleType, joined_by: str = "_") -> type[Kind]:
    """Return a class by its name.

    Args:
        name: of a module in `package`, or `module:name` of a class anywhere.
        kind: what the class has to derive from.
        package: our own classes, one in each module.
        joined_by: what stands between the words of the names of our own.

    Raises:
        ValueError: there is none of that name, or it is of another kind.
    """
    own = {module.replace("_", joined_by): module for module in names_in(package)}
    if isinstance(name, str) and name in own:
        module = importlib.import_module(f"{package.__name__}.{own[name]}")
        found = next(one for one in vars(module).values() if _is(one, kind) and one.__module__ == module.__name__)
        return cast("type[Kind]", found)
    if not isinstance(name, str) or ":" not in name:
        meant = did_you_mean(str(name), own)
        raise ValueError(
            f"there is no {_noun(package)} {shown(name)}.{meant} Choose one of {', '.join(own)}, or a class of your "
            f"own as `module:name`"
        )
    theirs = imported(name)
    if not _is(theirs, kind):
        what = "another class" if isinstance(theirs, type) else f"a {type(theirs).__name__}"
        raise ValueError(
            f"{shown(name)}: a class that derives from {kind.__module__}.{kind.__name__} is wanted, and it is {what}"
        )
    hints: Mapping[str, Any] = kind.__annotations__
    named = (name for name, hint in hints.items() if get_origin(hint) is ClassVar)
    missing = sorted(getattr(theirs, "__abstractmethods__", ())) + [one for one in named if not hasattr(theirs, one)]
    if missing:
        raise ValueError(f"{shown(name)} does not define {', '.join(missing)}")
    return cast("type[Kind]", theirs)


def made(settings: object, key: str, kind: type[Kind], package: ModuleType) -> Kind:
    """Return an object from its section of the configuration, whose `key` names the class.

    Raises:
        ValueError: there is no such class, or a key or value of the section is wrong.
    """
    if isinstance(settings, kind):
        return settings
    if isinstance(settings, str):
        settings = {key: settings}
    if not isinstance(settings, Mapping) or key not in settings:
        raise ValueError(f"a mapping is wanted whose key {key!r} names a {_noun(package)}")
    found = find(settings[key], kind, package)
    try:
        return found.model_validate(settings)
    except ValidationError as error:
        said = what_is_wrong(error, found, lambda inner: f"{settings[key]}: {inner}".rstrip(": "))
        raise ValueError(said.rstrip(".")) from None


@contextmanager
def calling(place: str, one: Settings, method: str) -> Iterator[None]:
    """Name a class that is not ours in what its code raises: the error becomes refused input, and stays its cause.

    Args:
        place: the key of its section, and how it is named there.
        one: the object.
        method: what is called.

    Raises:
        InputError: the code of a user raised something else than a failure of the machine.
    """
    try:
        yield
    except (InputError, TransientError, MemoryError):
        raise
    except Exception as error:
        of_the_machine = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        if _is_ours(type(one)) or of_the_machine:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"{place}: {type(one).__name__}.{method}: {type(error).__name__}: {error} (line {last.lineno} of "
            f"{PurePath(last.filename).name}). Correct this class, or leave it out."
        ) from error


def _noun(package: ModuleType) -> str:
    """Return what one of a package of our own classes is called: the package is named after several."""
    several = package.__name__.rpartition(".")[2]
    return f"{several[:-3]}y" if several.endswith("ies") else several.removesuffix("s")


def code_of(found: Settings) -> str | None:
    """Return a digest of the class of an object and of the modules it is defined in; None where the class is ours.

    Code of others may change without a change of the configuration or of our version.

    Raises:
        ValueError: the source of a class is not in a file.
    """
    kind = type(found)
    return None if _is_ours(kind) else _digest_of(kind)


@cache  # of the code as it was when the class was first used: a file that changes later is not what runs here
def _digest_of(kind: type) -> str:
    sources = []
    for one in kind.__mro__:
        module = one.__module__
        if _is_ours(one) or module.partition(".")[0] in {"abc", "builtins", "pydantic", "typing"}:
            continue
        try:
            sources.append(f"{module}:{one.__qualname__} {inspect.getsource(importlib.import_module(module))}")
        except (OSError, TypeError) as error:
            raise ValueError(f"{module}:{one.__qualname__}: its source is in no file. Define it in a module") from error
    return xxhash.xxh3_128_hexdigest("\0".join(sources).encode())


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def _is(one: Any, kind: type) -> bool:  # noqa: ANN401 - anything
    return isinstance(one, type) and issubclass(one, kind) and one is not kind
