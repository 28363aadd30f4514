"""What a look at sources asks of an object store: few requests, and few bytes, whatever the size of the files."""

import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.local.object_store import ObjectStore
from operators.documents.check import check
from operators.documents.read import read
from operators.documents.sources import SourceConfig, list_files
from operators.errors import InputError
from operators.storage import open_uri

MIB = 1 << 20


@dataclass
class Asked:
    """What was asked of a store: the names of the requests, and how many bytes it sent."""

    requests: list[str] = field(default_factory=list)
    sent: int = 0


@contextmanager
def counted(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    fs = open_uri("s3://any/thing", store.storage_options())[0]
    asked, call = Asked(), fs._call_s3

    async def count(method: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        answer = await call(method, *args, **kwargs)
        asked.requests.append(str(method))
        asked.sent += answer.get("ContentLength", 0) if method == "get_object" else 0
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(fs, "_call_s3", count)
        yield asked


def _text(count: int) -> list[str]:
    draw = random.Random(0)
    return [draw.randbytes(2000).hex() for _ in range(count)]


def _jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts)).encode()


def _csv(texts: list[str]) -> bytes:
    return ("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts))).encode()


def _parquet(texts: list[str]) -> bytes:
    written = io.BytesIO()
    ids = [str(i) for i in range(len(texts))]
    table = pa.table({"id": ids, "before": texts, "text": texts, "after": texts, "kind": ["x"] * len(texts)})
    pq.write_table(table, written, row_group_size=len(texts) // 2, compression="none", use_dictionary=False)
    return written.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "x.jsonl": lambda: _jsonl(_text(13_500)),
    "x.csv": lambda: _csv(_text(13_500)),
    "x.tsv": lambda: _csv(_text(13_500)).replace(b",", b"\t").replace(b'"', b""),
    "x.parquet": lambda: _parquet(_text(4_500)),
    "x.jsonl.gz": lambda: gzip.compress(_jsonl(_text(25_000)), 1),
}


@pytest.mark.parametrize("name", FILES)
def test_of_a_large_file_few_bytes_are_read(
    name: str, object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = FILES[name]()
    assert len(content) > 50 * MIB
    object_store.file_system().pipe_file(f"{bucket}/{name}", content)
    (file,) = list_files(
        "corpus", SourceConfig(path=(f"{bucket}/{name}",), storage_options=object_store.storage_options())
    )
    with counted(object_store, monkeypatch) as asked:
        check([file])
    assert asked.requests == ["get_object"]
    assert 0 < asked.sent < 2 * MIB


def test_columns_that_are_left_out_are_not_sent(
    object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.file_system().pipe_file(f"{bucket}/x.parquet", _parquet(_text(4_000)))
    sent, found = [], []
    for kept in ("all", ("kind",)):
        source = SourceConfig.model_validate(
            {"path": f"{bucket}/x.parquet", "metadata": kept, "storage_options": object_store.storage_options()}
        )
        (file,) = list_files("corpus", source)
        with counted(object_store, monkeypatch) as asked:
            found.append(pa.concat_tables(read(file)))
        sent.append(asked.sent)
    assert sent[0] > 46 * MIB
    assert sent[1] < 26 * MIB  # the text alone has 16, and what is read ahead is a MiB for each column
    assert found[0].drop_columns("metadata").equals(found[1].drop_columns("metadata"))


def test_files_of_a_glob_are_listed_and_looked_at_with_one_request_each(
    object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300
    good = _jsonl(["one", "two"])
    object_store.file_system().pipe({f"{bucket}/{i:04d}.jsonl": good if i % 10 else b"" for i in range(count)})
    source = SourceConfig(path=(f"{bucket}/*.jsonl",), storage_options=object_store.storage_options())
    with counted(object_store, monkeypatch) as asked:
        files = list_files("corpus", source)
    assert len(files) == count
    assert len(asked.requests) < 20
    with counted(object_store, monkeypatch) as asked:
        check(files)
    assert asked.requests == ["get_object"] * (count - count // 10)

    for place in (7, 211):
        object_store.file_system().pipe_file(f"{bucket}/{place:04d}.jsonl", b'{"id": "1", "body": "x"}\n')
    with counted(object_store, monkeypatch) as asked, pytest.raises(InputError, match=r"0007\.jsonl: no column 'text'"):
        check(list_files("corpus", source))
    assert len(asked.requests) < count + 20


def test_a_file_that_is_gone_is_named(object_store: ObjectStore, bucket: str) -> None:
    fs = object_store.file_system()
    fs.pipe({f"{bucket}/{i}.jsonl": _jsonl(["one"]) for i in range(5)})
    source = SourceConfig(path=(f"{bucket}/*.jsonl",), storage_options=object_store.storage_options())
    files = list_files("corpus", source)
    fs.rm_file(f"{bucket}/3.jsonl")
    with pytest.raises(InputError, match=r"3\.jsonl: the file cannot be opened"):
        check(files)
