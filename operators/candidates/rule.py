"""Rules over the metadata of documents and queries, such as `year < 2010 and domain != query.domain`.

A rule is parsed and never run as code. It compares fields of the document, by their name or as `document["any name"]`,
fields of the query (`query.domain`, `query["any name"]`) and constants, with `== != < <= > >= in`, `not in`, and joins
comparisons by `and`, `or` and `not`. A comparison with a missing field is unknown, as in SQL: neither it nor its
negation holds.
"""

import ast
import io
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from pydantic import AfterValidator

from operators.errors import InputError, listed, shown

Mask = npt.NDArray[np.bool_]

_COMPARE = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_KINDS = (pa.int64(), pa.float64(), pa.string(), pa.bool_())
_LONGEST = 2_000
_ROW = "\0row"  # no metadata has that name


class Rule:
    """A rule.

    Attributes:
        text: as it is written.
        fields: of documents that it reads, ascending.
        query_fields: of queries that it reads, ascending.
    """

    def __init__(self, text: str) -> None:
        """Parse a rule.

        Raises:
            ValueError: it is none.
        """
        if len(text) > _LONGEST:
            raise ValueError(f"a rule has at most {_LONGEST:,} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{shown(text)} is no rule: {getattr(error, 'msg', error)}") from None
        self.text, self._tree = text, tree
        _check_condition(tree)
        names = [_field(node) for node in ast.walk(tree)]
        self.fields, self.query_fields = (
            tuple(sorted({one[1] for one in names if one is not None and one[0] == side}))
            for side in ("document", "query")
        )

    def parts(self) -> tuple["Rule | None", "Rule | None"]:
        """Return what of it concerns documents alone, and what concerns queries, too: rules that hold together."""
        joined = isinstance(self._tree, ast.BoolOp) and isinstance(self._tree.op, ast.And)
        rules = [Rule(ast.unparse(node)) for node in (self._tree.values if joined else [self._tree])]  # type: ignore[attr-defined]
        alone = [rule for rule in rules if not rule.query_fields]
        together = [rule for rule in rules if rule.query_fields]
        return _all_of(alone), _all_of(together)

    def __call__(self, documents: Mapping[str, pa.Array], query: Mapping[str, Any], rows: int) -> Mask:
        """Return for which documents it holds: bool of shape (rows,).

        Args:
            documents: the columns that it reads.
            query: the fields of one query, of which a missing one is None; or columns, with a query for each document.
            rows: how many documents there are.

        Raises:
            InputError: two values of different kinds are compared.
        """
        held = self._evaluate(self._tree, documents, query)
        if isinstance(held, pa.Scalar):
            return np.full(rows, bool(held.as_py()))
        return np.asarray(pc.fill_null(held, False).to_numpy(zero_copy_only=False), dtype=np.bool_)

    def _evaluate(self, node: ast.expr, documents: Mapping[str, pa.Array], query: Mapping[str, Any]) -> Any:  # noqa: ANN401
        if isinstance(node, ast.BoolOp):
            join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            held = self._evaluate(node.values[0], documents, query)
            for one in node.values[1:]:
                held = join(held, self._evaluate(one, documents, query))
            return held
        if isinstance(node, ast.UnaryOp):
            return pc.invert(self._evaluate(node.operand, documents, query))
        assert isinstance(node, ast.Compare)
        left, held = node.left, None
        for operator, right in zip(node.ops, node.comparators, strict=True):
            one = self._compared(operator, left, right, documents, query)
            held, left = one if held is None else pc.and_kleene(held, one), right
        return held

    def _compared(
        self,
        operator: ast.cmpop,
        left: ast.expr,
        right: ast.expr,
        documents: Mapping[str, pa.Array],
        query: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401 - a scalar or an array
        one, listed_after = _value(left, documents, query), isinstance(operator, ast.In | ast.NotIn)
        other = pa.array(_constants(right)) if listed_after else _value(right, documents, query)
        try:
            if _is_unknown(one) or _is_unknown(other):
                sides = (one,) if listed_after else (one, other)
                rows = [len(side) for side in sides if not isinstance(side, pa.Scalar)]
                return pa.nulls(rows[0], pa.bool_()) if rows else pa.scalar(None, pa.bool_())
            if not listed_after:
                return _COMPARE[type(operator)](one, other)
            if _is_number(one) and _is_number(other) and one.type != other.type:
                one, other = one.cast(pa.float64()), other.cast(pa.float64())
            among = pc.is_in(one, value_set=other)
            known = pc.if_else(pc.is_valid(one), among, pa.scalar(None, pa.bool_()))
            return pc.invert(known) if isinstance(operator, ast.NotIn) else known
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            both = f"{ast.unparse(left)} and {ast.unparse(right)}"
            raise InputError(
                f"where: {shown(self.text)}: {both} have values of different kinds ({error}). Compare numbers with "
                f"numbers and texts with texts."
            ) from error


def _is_rule(text: str) -> str:
    Rule(text)
    return text


RuleText = Annotated[str, AfterValidator(_is_rule)]


def rule_column(text: str) -> str:
    """Return the column, and the signal, that tells which candidates meet a rule: no signal of a user has that name."""
    return f"where {text}"


def fields_of(
    metadata: pa.Array | pa.ChunkedArray, names: Sequence[str], of_queries: bool = False
) -> dict[str, pa.Array]:
    """Return fields of metadata as columns, null where a row has none.

    Args:
        metadata: JSON objects as strings, or null.
        names: of the fields.
        of_queries: the metadata are those of queries: different values in the rows of one query are a list there.

    Raises:
        InputError: a field has values of several kinds, or lists or objects.
    """
    column = metadata.combine_chunks() if isinstance(metadata, pa.ChunkedArray) else metadata
    if not len(column):
        return {name: pa.nulls(0) for name in names}
    lines = "\n".join(one or "{}" for one in column.to_pylist()).encode()
    return {name: _one_field(lines, len(column), name, of_queries) for name in names}


def cell_names(fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Return the cell of each row: its fields as a JSON object, of the same text for the same values.

    A cell is what a rule cannot tell apart; `fields_of` gives its fields again.
    """
    if not fields or not rows:
        return pa.array(["{}"] * rows, pa.string())
    numbered = pa.table({**fields, _ROW: np.arange(rows)})
    groups = numbered.group_by(list(fields)).aggregate([(_ROW, "list")])
    names = [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in groups.select(list(fields)).to_pylist()]
    lists = groups.column(f"{_ROW}_list").combine_chunks()
    owner = np.repeat(np.arange(len(names)), np.diff(lists.offsets.to_numpy()))
    of_row = np.empty(rows, dtype=np.int64)
    of_row[lists.flatten().to_numpy()] = owner
    return pa.array(names, pa.string()).take(pa.array(of_row))


def _one_field(lines: bytes, rows: int, name: str, of_queries: bool) -> pa.Array:
    for kind in _KINDS:
        options = pyarrow.json.ParseOptions(
            explicit_schema=pa.schema({name: kind}), unexpected_field_behavior="ignore", newlines_in_values=False
        )
        try:
            block = pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
            table = pyarrow.json.read_json(io.BytesIO(lines), read_options=block, parse_options=options)
        except pa.ArrowInvalid:
            continue
        if table.num_rows == rows:
            return table.column(name).combine_chunks()
    if of_queries and any(isinstance(json.loads(line).get(name), list) for line in lines.splitlines()):
        raise InputError(
            f"where: query.{name}: rows of one query have different values of the metadata {shown(name)}, or lists. "
            f"Give all rows of a query the same value."
        )
    raise InputError(
        f"where: the metadata {shown(name)} has values of several kinds, lists or objects. Give it numbers alone or "
        f"texts alone."
    )


def _all_of(rules: Sequence[Rule]) -> Rule | None:
    return Rule(" and ".join(f"({rule.text})" for rule in rules)) if rules else None


def _check_condition(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for one in node.values:
            _check_condition(one)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand)
    elif isinstance(node, ast.Compare):
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                _constants(right)
            elif type(operator) not in _COMPARE:
                raise ValueError(f"{shown(ast.unparse(node))}: a rule has no such comparison")
            else:
                _check_value(right)
        _check_value(node.left)
    else:
        raise ValueError(f"{shown(ast.unparse(node))} is no comparison; join comparisons by and, or, not")


def _check_value(node: ast.expr) -> None:
    if _field(node) is None and not isinstance(_constant(node), str | int | float | bool):
        raise ValueError(
            f"{shown(ast.unparse(node))} is neither a field (year, document['year'], query.year) nor a text or number"
        )


def _constants(node: ast.expr) -> list[Any]:
    if not isinstance(node, ast.List | ast.Tuple | ast.Set) or not node.elts:
        raise ValueError(f"{shown(ast.unparse(node))}: a list of texts or numbers is wanted after `in`")
    values = [_constant(one) for one in node.elts]
    if len({type(value) for value in values}) > 1 or not isinstance(values[0], str | int | float):
        raise ValueError(f"a list of texts or of numbers is wanted after `in`, not {listed(list(map(str, values)))}")
    return values


def _constant(node: ast.expr) -> object:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return -value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return node.value if isinstance(node, ast.Constant) else None


def _field(node: ast.AST) -> tuple[str, str] | None:
    """Return the side and the name of a field; None for what is none."""
    if isinstance(node, ast.Name):
        return None if node.id in {"query", "document"} else ("document", node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"query", "document"}:
        return node.value.id, node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in {"query", "document"}:
        name = _constant(node.slice)
        return (node.value.id, name) if isinstance(name, str) else None
    return None


def _value(node: ast.expr, documents: Mapping[str, pa.Array], query: Mapping[str, Any]) -> Any:  # noqa: ANN401
    field = _field(node)
    if field is None:
        return pa.scalar(_constant(node))
    side, name = field
    value = documents[name] if side == "document" else query.get(name)
    return value if isinstance(value, pa.Array) else pa.scalar(value)


def _is_unknown(values: pa.Array | pa.Scalar) -> bool:
    """Whether there is no value: the kind of such a column says nothing, and is that of no other column."""
    if isinstance(values, pa.Scalar):
        return not values.is_valid
    return bool(values.null_count == len(values))


def _is_number(values: pa.Array | pa.Scalar) -> bool:
    return bool(pa.types.is_integer(values.type) or pa.types.is_floating(values.type))
