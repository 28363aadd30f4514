"""What a rule may say: its text becomes a syntax tree, which is checked and never run as code."""

import ast
import keyword
import re

from operators.candidates.numbers import whole
from operators.errors import listed, shown
from operators.settings import LARGEST_INTEGER

COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
# Levels of the tree: checks and evaluation call themselves once for each, and Python ends at about 1,000 calls.
DEEPEST = 50
_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep. Use fewer `not`, `-` and parentheses"
# JSON has no half of a character, and a zero byte is in no text of a configuration.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NAMES = re.compile(r"(?:\b(query|document)\s*\.\s*)?\b([^\W\d]\w*)")
# Words of Python that a rule may have.
_OF_RULES = {"and", "or", "not", "in", "True", "False"}


def parsed(text: str) -> ast.expr:
    """Return the tree of a rule.

    Raises:
        ValueError: it is none.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (RecursionError, MemoryError):
        raise ValueError(f"{shown(text)} is no rule: {_TOO_DEEP}") from None
    except (SyntaxError, ValueError) as error:
        why = getattr(error, "msg", error)
        raise ValueError(
            f"{shown(text)} is no rule ({why}): compare by ==, !=, <, <=, >, >=, in, not in; join by and, or, not"
            f"{_reserved_in(text)}"
        ) from None
    if _depth(tree) > DEEPEST:
        raise ValueError(f"{shown(text)} is no rule: {_TOO_DEEP}")
    _check_names(tree, text.strip())
    _check_condition(tree)
    return tree


def _reserved_in(text: str) -> str:
    """Return how to write the first name in a text that is a word of Python's own; empty where there is none."""
    for name in _NAMES.finditer(_QUOTED.sub("", text)):
        side, word = name.groups()
        if keyword.iskeyword(word) and (side or word not in _OF_RULES):
            return f". If {word} is metadata, write {side or 'document'}[{word!r}]"
    return ""


def conjuncts(tree: ast.expr) -> list[ast.expr]:
    """Return the conditions that `and` joins on the highest level."""
    return tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]


def field_of(node: ast.AST) -> tuple[str, str] | None:
    """Return the side and the name of a field; None for what is none."""
    if isinstance(node, ast.Name):
        return None if node.id in {"query", "document"} else ("document", node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"query", "document"}:
        return node.value.id, node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in {"query", "document"}:
        name = constant_of(node.slice)
        return (node.value.id, name) if isinstance(name, str) else None
    return None


def constant_of(node: ast.expr) -> object:
    """Return the value of a constant; None for what is none."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant_of(node.operand)
        return whole(-value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return whole(node.value) if isinstance(node, ast.Constant) else None


def constants_of(node: ast.expr) -> list[str] | list[bool] | list[int | float]:
    """Return the values after `in`, which are all texts, all numbers, or all true or false.

    Raises:
        ValueError: they are no list of constants of one kind.
    """
    if not isinstance(node, ast.List | ast.Tuple | ast.Set) or not node.elts:
        raise ValueError(f"{shown(ast.unparse(node))}: a list of texts or numbers is wanted after `in`")
    values: list[object] = [constant_of(one) for one in node.elts]
    types = {type(value) for value in values}
    if not (types <= {int, float} or types in ({str}, {bool})):
        raise ValueError(f"a list of texts or of numbers is wanted after `in`, not {listed(list(map(str, values)))}")
    for value in values:
        _check_constant(value)
    return values  # type: ignore[return-value]


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _check_names(tree: ast.expr, text: str) -> None:
    """Check that names are as they are written: the parser of Python brings them into Unicode NFKC."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        read, written = node.id if isinstance(node, ast.Name) else node.attr, ast.get_source_segment(text, node) or ""
        if not written.endswith(read):
            side, _, name = written.rpartition(".")
            raise ValueError(
                f"the name {shown(name.strip())} has characters that are changed in a name (to Unicode NFKC). "
                f"Write {side.strip() or 'document'}[{shown(name.strip())}]"
            )


def _check_condition(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for one in node.values:
            _check_condition(one)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand)
    elif isinstance(node, ast.Compare):
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            _check_value(left)
            if isinstance(operator, ast.In | ast.NotIn):
                constants_of(right)
            elif isinstance(operator, COMPARISONS):
                _check_value(right)
            else:
                raise ValueError(f"{shown(ast.unparse(node))}: a rule has no such comparison")
    else:
        raise ValueError(f"{shown(ast.unparse(node))} is no comparison; join comparisons by and, or, not")


def _check_value(node: ast.expr) -> None:
    field, value = field_of(node), constant_of(node)
    if field is None and not isinstance(value, str | int | float):
        raise ValueError(
            f"{shown(ast.unparse(node))} is neither a field (year, document['year'], query.year) nor a text or number"
        )
    _check_constant(value if field is None else field[1])


def _check_constant(value: object) -> None:
    if isinstance(value, int) and not _fits(value):
        raise ValueError(f"the number {shown(value)} does not fit into 64 bits. Write it as a float, such as 1e20")
    if isinstance(value, str) and _NOT_TEXT.search(value):
        raise ValueError(f"the text {shown(value)} holds a zero byte or half a character. Write it without")


def _fits(number: float) -> bool:
    return -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER
