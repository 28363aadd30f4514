"""Count what this process reads from an S3 store, object by object."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import fsspec


@dataclass(frozen=True)
class Read:
    """One answered request for the content of an object.

    Attributes:
        key: of the object, without its bucket.
        size: in bytes, of what was sent.
        ranged: whether a range of the object was asked for, not the whole.
    """

    key: str
    size: int
    ranged: bool


@contextmanager
def counted_reads() -> Iterator[list[Read]]:
    """Give a list that grows with every read of this process until the block ends."""
    reads: list[Read] = []
    kind = fsspec.get_filesystem_class("s3")
    call = kind._call_s3

    async def counting(fs: Any, method: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - s3fs is untyped
        answer = await call(fs, method, *args, **options)
        if method == "get_object":
            reads.append(Read(options["Key"], answer["ContentLength"], "Range" in options))
        return answer

    with patch.object(kind, "_call_s3", counting):
        yield reads
