"""Factory strings of FAISS: which of them make an index that can be trained, filled, stored and searched here."""

import math
import re
from typing import Any

import faiss

from operators.errors import InputError, shown

EXACT = "exact"
SUPPORTED = (
    "[OPQm, PCAd or RRd], [IVFn or IVFn_HNSWm], and PQm, PQmxb, PQmx4fs, SQ4, SQ6, SQ8, SQfp16, SQbf16, RaBitQ, "
    "RaBitQfs, RQmxb or Flat; or HNSWm"
)
# FAISS reads more strings than it survives: of `PQ8x0` it divides by zero, of `IVF0,RaBitQfs` it reads memory that is
# not there, `NSG4` and `LSQ64x4` train for minutes, `IDMap` takes no rows without ids. So what is passed on is listed.
_NUMBER = r"[1-9][0-9]{0,3}"
_TRANSFORM = rf"(?:OPQ{_NUMBER}(?:_{_NUMBER})?|PCAW?R?{_NUMBER}|RR(?:{_NUMBER})?|L2norm)"
_SCALAR = r"SQ(?:4|6|8|fp16|bf16)"
_PRODUCT = rf"PQ{_NUMBER}(?:x(?:[4-9]|1[0-2])(?:np)?|x4fsr?(?:_(?:32|64|96|128))?|np)?"
_CODES = rf"(?:{_PRODUCT}|{_SCALAR}|RaBitQ[1-9]?|RaBitQfs(?:_(?:32|64|96|128))?|RQ(?:[1-9]|1[0-6])x[4-6])"
_GRAPH_SIZE = r"(?:[4-9]|[1-9][0-9]|1[01][0-9]|12[0-8])"
_GRAPH = rf"HNSW{_GRAPH_SIZE}(?:,Flat|[,_]{_SCALAR})?"
_LISTS = rf"IVF([1-9][0-9]{{0,6}})(?:_HNSW{_GRAPH_SIZE}|\(HNSW{_GRAPH_SIZE}\))?"
_FACTORY = re.compile(rf"(?:{_TRANSFORM},){{0,3}}(?:Flat|{_CODES}|{_GRAPH}|{_LISTS},(?:{_CODES}|Flat))", re.ASCII)
MOST_LISTS = 1 << 20
USUAL_DIMENSION, LARGEST_DIMENSION = 3840, 1 << 13


def check_factory(factory: str) -> None:
    """Refuse a factory string that no index here can be made of, whatever the dimension.

    Raises:
        InputError: with what can be made, or what FAISS says of it.
    """
    if factory in {"auto", EXACT}:
        return
    _check_supported(factory)
    # A length that no usual string refuses: divisible by every number of sub-quantizers in it.
    pieces = math.lcm(*(int(number) for number in re.findall(r"PQ([0-9]+)", factory)))
    empty_index(factory, pieces * -(-USUAL_DIMENSION // pieces) if pieces <= LARGEST_DIMENSION else USUAL_DIMENSION)


def empty_index(factory: str, dimension: int) -> Any:  # noqa: ANN401 - faiss is untyped
    """Make an untrained index for inner products.

    Raises:
        InputError: it is not supported here, or FAISS cannot make it for vectors of that many values.
    """
    _check_supported(factory)
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        _check_transforms(index)
    except RuntimeError as error:
        raise InputError(
            f"index: FAISS cannot make {shown(factory)} for vectors of {dimension} values ({said(error)}). "
            f"Use auto, exact or another factory string."
        ) from error
    return index


def _check_transforms(index: Any) -> None:  # noqa: ANN401 - faiss is untyped
    """Raise what FAISS itself would say only when it trains them."""
    chain: Any = faiss.downcast_index(index)
    transforms: Any = chain.chain if isinstance(chain, faiss.IndexPreTransform) else None
    for number in range(transforms.size() if transforms is not None else 0):
        one: Any = faiss.downcast_VectorTransform(transforms.at(number))
        if isinstance(one, faiss.PCAMatrix) and one.d_out > one.d_in:
            raise RuntimeError(f"PCA makes {one.d_out} values of {one.d_in}")
        if isinstance(one, faiss.OPQMatrix) and one.d_out % one.M:
            raise RuntimeError(f"OPQ cuts {one.d_out} values into {one.M} equal pieces")


def _check_supported(factory: str) -> None:
    if not _FACTORY.fullmatch(factory) or lists_in(factory) > MOST_LISTS:
        raise InputError(
            f"index: {shown(factory)} is no factory string that can be used here. Use auto, exact, or: {SUPPORTED}; at "
            f"most {MOST_LISTS:,} lists."
        )


def lists_in(factory: str) -> int:
    """Return how many inverted lists a factory string names, 0 for none."""
    match = re.search(r"IVF(\d+)", factory)
    return int(match.group(1)) if match else 0


def said(error: RuntimeError) -> str:
    """Return what FAISS says was wrong, without the place in its code."""
    return (str(error).rpartition("Error: ")[2] or str(error)).strip()
