"""Rules over the metadata of documents and queries, such as `year < 2010 and domain != query.domain`.

A rule is parsed and never run as code. It compares fields of the document, by their name or as `document["any name"]`,
fields of the query (`query.domain`, `query["any name"]`) and constants, with `== != < <= > >= in`, `not in`, and joins
comparisons by `and`, `or` and `not`. A comparison with a missing field is unknown, as in SQL: neither it nor its
negation holds.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from pydantic import AfterValidator

from operators.candidates.numbers import FIRST_INEXACT, as_exact, numbers_of, python_values
from operators.candidates.rule_tree import COMPARISONS, conjuncts, constant_of, constants_of, field_of, parsed
from operators.errors import LONGEST_NAME, LONGEST_VALUE, InputError, one_line, shown

Mask = npt.NDArray[np.bool_]

_COMPARE = dict(
    zip(COMPARISONS, (pc.equal, pc.not_equal, pc.less, pc.less_equal, pc.greater, pc.greater_equal), strict=True)
)
_KINDS = (pa.int64(), pa.float64(), pa.string(), pa.bool_())
_LONGEST = 2_000  # characters that a user may write
_ROW = "\0row"  # no metadata has that name


class Rule:
    """A rule.

    Attributes:
        text: as it is written.
        fields: of documents that it reads, ascending.
        query_fields: of queries that it reads, ascending.
    """

    def __init__(self, text: str, tree: ast.expr | None = None) -> None:
        """Parse a rule.

        Args:
            text: as it is written.
            tree: what it says, if it is parsed already.

        Raises:
            ValueError: it is none.
        """
        self.text, self._tree = text, parsed(text) if tree is None else tree
        names = [field_of(node) for node in ast.walk(self._tree)]
        self.fields, self.query_fields = (
            tuple(sorted({one[1] for one in names if one is not None and one[0] == side}))
            for side in ("document", "query")
        )

    def parts(self) -> tuple["Rule | None", "Rule | None"]:
        """Return what of it concerns documents alone, and what concerns queries, too: rules that hold together."""
        rules = [Rule(ast.unparse(tree), tree) for tree in conjuncts(self._tree)]
        alone = [rule for rule in rules if not rule.query_fields]
        together = [rule for rule in rules if rule.query_fields]
        return Rule.all_of(alone) if alone else None, Rule.all_of(together) if together else None

    @staticmethod
    def all_of(rules: Sequence["Rule"]) -> "Rule":
        """Return the rule that holds where all hold, of at least one."""
        tree = ast.BoolOp(ast.And(), [one for rule in rules for one in conjuncts(rule._tree)])
        return Rule(ast.unparse(tree), tree)

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
        other = _column(constants_of(right)) if listed_after else _value(right, documents, query)
        if _is_unknown(one) or _is_unknown(other):
            sides = (one,) if listed_after else (one, other)
            rows = [len(side) for side in sides if not isinstance(side, pa.Scalar)]
            return pa.nulls(rows[0], pa.bool_()) if rows else pa.scalar(None, pa.bool_())
        if kind_of(one.type) != kind_of(other.type):
            first, second = (one_line(ast.unparse(side), LONGEST_VALUE) for side in (left, right))
            raise InputError(
                f"{shown(self.text)}: {first} is {kind_of(one.type)}, and {second} "
                f"{'holds' if listed_after else 'is'} {kind_of(other.type)}. Compare numbers with numbers and texts "
                f"with texts; CSV and TSV files hold texts alone."
            )
        if one.type != other.type:
            one, other = as_exact(one), as_exact(other)
        if not listed_after:
            return _COMPARE[type(operator)](one, other)
        among = pc.is_in(one, value_set=other)
        known = pc.if_else(pc.is_valid(one), among, pa.scalar(None, pa.bool_()))
        return pc.invert(known) if isinstance(operator, ast.NotIn) else known


def kind_of(kind: pa.DataType) -> str:
    """Return the kind of the values of some metadata in words."""
    if pa.types.is_boolean(kind):
        return "true or false"
    return "text" if pa.types.is_string(kind) else "a number"


def _is_rule(text: str) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"a rule has at most {_LONGEST:,} characters, and this one has {len(text):,}. Shorten it")
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
    rows = pa.ListArray.from_arrays(
        pa.array([0, len(column)], pa.int32()), pc.fill_null(column.cast(pa.string()), "{}")
    )
    lines = pc.binary_join(rows, "\n")[0].as_buffer()
    return {name: _one_field(lines, len(column), name, of_queries) for name in names}


def cell_names(fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Return the cell of each row: its fields as a JSON object, of the same text for the same values.

    A cell is what a rule cannot tell apart; `fields_of` gives its fields again. Where one row has a number with a
    fraction, all rows may have floats; 2.0 is written as 2, so that no other row decides about the text of a cell.
    """
    if not fields or not rows:
        return pa.array(["{}"] * rows, pa.string())
    numbered = pa.table({**fields, _ROW: np.arange(rows)})
    groups = numbered.group_by(list(fields)).aggregate([(_ROW, "list")])
    columns = [python_values(groups.column(name).combine_chunks()) for name in fields]
    values = [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]
    names = [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in values]
    lists = groups.column(f"{_ROW}_list").combine_chunks()
    owner = np.repeat(np.arange(len(names)), np.diff(lists.offsets.to_numpy()))
    of_row = np.empty(rows, dtype=np.int64)
    of_row[lists.flatten().to_numpy()] = owner
    return pa.array(names, pa.string()).take(pa.array(of_row))


def _one_field(lines: pa.Buffer, rows: int, name: str, of_queries: bool) -> pa.Array:
    for kind in _KINDS:
        options = pyarrow.json.ParseOptions(
            explicit_schema=pa.schema({name: kind}), unexpected_field_behavior="ignore", newlines_in_values=False
        )
        try:
            block = pyarrow.json.ReadOptions(use_threads=False, block_size=lines.size + 1)
            table = pyarrow.json.read_json(pa.BufferReader(lines), read_options=block, parse_options=options)
        except pa.ArrowInvalid:
            continue
        if table.num_rows == rows:
            column = table.column(name).combine_chunks()
            return _unrounded(column, lines.to_pybytes(), name) if pa.types.is_floating(kind) else column
    if of_queries and any(isinstance(json.loads(line).get(name), list) for line in lines.to_pybytes().splitlines()):
        raise InputError(
            f"where: query.{name}: rows of one query have different values of the metadata {shown(name)}, or lists. "
            f"Give all rows of a query the same value."
        )
    examples = _one_of_each_kind(lines.to_pybytes(), name)
    infinite = "; infinite numbers are texts" if {"Infinity", "-Infinity"} & set(map(str, examples)) else ""
    raise InputError(
        f"the metadata {shown(name)} has values of several kinds, lists or objects: "
        f"{', '.join(shown(one, LONGEST_NAME) for one in examples)}{infinite}. Give it numbers alone or texts alone."
    )


def _one_of_each_kind(lines: bytes, name: str) -> list[object]:
    """Return a value of each type that a field has."""
    of_kind: dict[type, object] = {}
    for line in lines.split(b"\n"):
        value = json.loads(line).get(name)
        if value is not None:
            of_kind.setdefault(float if type(value) is int else type(value), value)
    return list(of_kind.values())


def _unrounded(floats: pa.Array, lines: bytes, name: str) -> pa.Array:
    """Return a column of floats as it is, or EXACT where a number is an integer that floats do not hold."""
    if not pc.any(pc.greater_equal(pc.abs(floats), FIRST_INEXACT)).as_py():
        return floats
    try:
        return numbers_of([json.loads(line).get(name) for line in lines.split(b"\n")])
    except ValueError as error:
        raise InputError(
            f"the metadata {shown(name)} has the number {one_line(str(error), LONGEST_VALUE)}, which does not fit into "
            f"64 bits. Give it as text, or as a float, such as 1e20."
        ) from error


def _column(values: Sequence[Any]) -> pa.Array:
    """Return values of one kind as a column."""
    return pa.array(values) if isinstance(values[0], str | bool) else numbers_of(values)


def _value(node: ast.expr, documents: Mapping[str, pa.Array], query: Mapping[str, Any]) -> Any:  # noqa: ANN401
    field = field_of(node)
    if field is None:
        return _column([constant_of(node)])[0]
    side, name = field
    value = documents[name] if side == "document" else query.get(name)
    return value if isinstance(value, pa.Array) else _column([value])[0]


def _is_unknown(values: pa.Array | pa.Scalar) -> bool:
    """Whether there is no value: the kind of such a column says nothing, and is that of no other column."""
    if isinstance(values, pa.Scalar):
        return not values.is_valid
    return bool(values.null_count == len(values))
