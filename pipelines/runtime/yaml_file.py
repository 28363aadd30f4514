"""Read YAML that people write: mappings with keys of text, each key once, and values that JSON has too."""

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from operators.errors import shown

LONGEST_FILE = 1 << 20
DEEPEST = 32
MOST_VALUES = 20_000
LONGEST_INTEGER = 40
_MERGE = "tag:yaml.org,2002:merge"
# `yaml.safe_dump` quotes every text that any of these takes for something else.
_PLAIN = {
    "bool": (
        re.compile(r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
        "yYnNtTfFoO",
    ),
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "int": (re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), "-+0123456789"),
    "float": (
        re.compile(
            r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+0123456789.",
    ),
    "merge": (re.compile(r"^<<$"), "<"),
}


class NotYamlError(ValueError):
    """A text that is not YAML as it is read here. The message quotes no value: it may be secret.

    Attributes:
        line: where it is not, from 1, or None where that is not known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def parse(content: str | bytes) -> Any:  # noqa: ANN401 - what the text holds
    """Read one YAML document: mappings, lists, texts, numbers, true, false and null.

    What looks like a date, or a number in base 60, is a text. Anchors and aliases are allowed while they stand for no
    more than 20,000 values in all.

    Raises:
        NotYamlError: it is no YAML, holds a key twice, a key that is no text, a tag, or too much.
    """
    if len(content) > LONGEST_FILE:
        raise NotYamlError(f"it is longer than {LONGEST_FILE >> 20} MiB")
    try:
        loader = _Loader(content)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise NotYamlError(str(error.problem), error.problem_mark.line + 1 if error.problem_mark else None) from None
    except yaml.YAMLError as error:
        raise NotYamlError(getattr(error, "reason", None) or "it is no text") from None


class _Loader(yaml.SafeLoader):
    """Composes and constructs what `parse` allows."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML declares it
    yaml_constructors = {}  # noqa: RUF012 - as PyYAML declares it

    def __init__(self, content: str | bytes) -> None:
        super().__init__(content)
        self.depth = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:  # noqa: ANN401 - as it is in PyYAML
        self.depth += 1
        if self.depth > DEEPEST:
            raise ConstructorError(None, None, f"more than {DEEPEST} levels inside one another", self._mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _mark(self) -> Any:  # noqa: ANN401 - PyYAML is untyped here
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        return event.start_mark

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            self._check(node)
        return node

    def _check(self, node: Node) -> int:
        """Check a node and those in it; return how many values it stands for."""
        if id(node) in self.sizes:
            if not self.sizes[id(node)]:
                raise ConstructorError(None, None, "an alias stands for what it is part of", node.start_mark)
            return self.sizes[id(node)]
        self.sizes[id(node)] = 0
        inner: list[Node] = []
        if isinstance(node, MappingNode):
            _check_keys(node)
            inner = [one for pair in node.value for one in pair]
        elif isinstance(node, SequenceNode):
            inner = list(node.value)
        size = 1 + sum(self._check(one) for one in inner)
        if size > MOST_VALUES:
            raise ConstructorError(None, None, f"more than {MOST_VALUES:,} values, aliases included", node.start_mark)
        self.sizes[id(node)] = size
        return size


def _check_keys(node: MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag == _MERGE:
            continue
        if not isinstance(key, ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise ConstructorError(None, None, "a key that is no text; put it into quotes", key.start_mark)
        if key.value in lines:
            said = f"the key {shown(key.value)} stands here again, after line {lines[key.value]}"
            raise ConstructorError(None, None, said, key.start_mark)
        lines[key.value] = key.start_mark.line + 1


def _integer(loader: _Loader, node: Node) -> int:
    text = str(loader.construct_scalar(node))  # type: ignore[arg-type]
    if len(text) > LONGEST_INTEGER:
        raise ConstructorError(None, None, f"a number of {len(text):,} digits", node.start_mark)
    return int(text)


def _of_kind(kind: str) -> Callable[[_Loader, Node], Any]:
    made: Callable[[Any, Any], Any] = {
        "str": yaml.SafeLoader.construct_yaml_str,
        "bool": yaml.SafeLoader.construct_yaml_bool,
        "null": yaml.SafeLoader.construct_yaml_null,
        "int": _integer,
        "float": yaml.SafeLoader.construct_yaml_float,
    }[kind]

    def construct(loader: _Loader, node: Node) -> Any:  # noqa: ANN401 - what the text holds
        try:
            return made(loader, node)
        except (ValueError, KeyError):  # of an explicit tag, such as `!!int x`
            raise ConstructorError(None, None, f"no {kind} where the tag announces one", node.start_mark) from None

    return construct


def _mapping(loader: _Loader, node: Any) -> Any:  # noqa: ANN401 - what the text holds
    return loader.construct_yaml_map(node)


def _sequence(loader: _Loader, node: Any) -> Any:  # noqa: ANN401 - what the text holds
    return loader.construct_yaml_seq(node)


def _no_such_tag(loader: _Loader, node: Node) -> Any:  # noqa: ANN401 - nothing
    raise ConstructorError(None, None, "a tag that is not read here; leave it out", node.start_mark)


for _kind, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list(_first))
for _kind in ("str", "bool", "null", "int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _of_kind(_kind))
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _sequence)
_Loader.add_constructor(None, _no_such_tag)
