"""Sources: which files are found, in which order, and what is refused before work starts."""

import gzip
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydantic import ValidationError

from operators.documents.data import DataConfig
from operators.documents.read import read
from operators.documents.sources import CONVENTIONS, SourceConfig, list_files
from operators.errors import InputError, TransientError

SECRET = {"secret": "do not tell"}


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
    return folder


def _found(*paths: str | Path, kind: str = "corpus", **config: Any) -> list[str]:  # noqa: ANN401 - of SourceConfig
    source = SourceConfig(path=tuple(map(str, paths)), **config)
    return [file.uri.rpartition("/")[2] for file in list_files(kind, source)]


def test_a_glob_finds_files_by_name_and_no_folders(tmp_path: Path) -> None:
    _touch(tmp_path, "b.jsonl", "a.jsonl", "c.csv", "deep/d.jsonl", "folder.jsonl/inside.txt")
    assert _found(tmp_path / "*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert _found(tmp_path / "**" / "*.jsonl") == ["a.jsonl", "b.jsonl", "d.jsonl"]
    assert _found(tmp_path / "[bc].*") == ["b.jsonl", "c.csv"]


def test_several_paths_stay_in_the_order_of_the_configuration(tmp_path: Path) -> None:
    _touch(tmp_path, "a1.jsonl", "a2.jsonl", "z.parquet")
    assert _found(tmp_path / "z.parquet", tmp_path / "a*.jsonl") == ["z.parquet", "a1.jsonl", "a2.jsonl"]


@pytest.mark.parametrize("name", ["missing.jsonl", "*.parquet", "sub"])
def test_a_path_that_matches_no_file_is_refused_by_its_key(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "a.jsonl", "sub/b.jsonl")
    with pytest.raises(InputError) as caught:
        _found(tmp_path / "a.jsonl", tmp_path / name)
    assert str(caught.value).startswith(f"data.corpus.path: no file at {tmp_path / name}.")


def test_an_unknown_protocol_is_refused_by_its_key() -> None:
    with pytest.raises(InputError, match=r"^data\.queries\.path: nowhere://x\.jsonl: .*Protocol not known: nowhere"):
        _found("nowhere://x.jsonl", kind="queries")


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match="path"):
        SourceConfig(path=())


@pytest.mark.parametrize("kind", sorted(CONVENTIONS))
def test_an_unknown_role_is_refused_with_the_roles_there_are(tmp_path: Path, kind: str) -> None:
    _touch(tmp_path, "a.jsonl")
    with pytest.raises(InputError) as caught:
        _found(tmp_path / "a.jsonl", kind=kind, columns={"txt": "text"})
    assert f"data.{kind}.columns" in str(caught.value)
    assert "'txt'" in str(caught.value)
    for role in CONVENTIONS[kind]:
        assert role in str(caught.value).partition("the roles are")[2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.jsonl", "jsonl"),
        ("x.ndjson", "jsonl"),
        ("x.json", "jsonl"),
        ("X.JSONL", "jsonl"),
        ("x.v1.jsonl.gz", "jsonl"),
        ("x.jsonl.zst", "jsonl"),
        ("x.csv.bz2", "csv"),
        ("x.tsv.xz", "tsv"),
        ("x.parquet", "parquet"),
    ],
)
def test_the_format_goes_by_the_name(tmp_path: Path, name: str, expected: str) -> None:
    _touch(tmp_path, name)
    (file,) = list_files("corpus", SourceConfig(path=(str(tmp_path / name),)))
    assert file.format == expected


@pytest.mark.parametrize("name", ["x.txt", "jsonl", "x.gz", "x.jsonl.bak"])
def test_a_name_that_tells_no_format_needs_one_in_the_configuration(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, name)
    with pytest.raises(InputError, match=r"data\.corpus\.format") as caught:
        _found(tmp_path / name)
    assert name in str(caught.value)
    (file,) = list_files("corpus", SourceConfig(path=(str(tmp_path / name),), format="tsv"))
    assert file.format == "tsv"


def test_a_changed_file_has_another_size_or_stamp(tmp_path: Path) -> None:
    path = _touch(tmp_path, "a.jsonl") / "a.jsonl"
    source = SourceConfig(path=(str(path),))
    before = list_files("corpus", source)
    assert list_files("corpus", source) == before
    os.utime(path, (1, 1))
    touched = list_files("corpus", source)
    assert touched != before
    path.write_text("xy\n")
    os.utime(path, (1, 1))
    assert list_files("corpus", source) != touched


@pytest.mark.parametrize("change", ["longer", "replaced", "touched"])
def test_a_file_that_changes_while_it_is_read_is_no_input(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.jsonl"
    rows = '{"_id": "1", "text": "one"}\n' * 20_000
    path.write_text(rows)
    (file,) = list_files("corpus", SourceConfig(path=(str(path),)))
    tables = read(file)
    next(tables)
    if change == "longer":
        path.write_text(rows + '{"_id": "2", "text": "two"}\n')
    elif change == "replaced":
        (tmp_path / "b").write_text(rows.replace("one", "two"))
        (tmp_path / "b").replace(path)
    else:
        os.utime(path, (1, 1))
    with pytest.raises(TransientError, match=r"a\.jsonl: the file was changed while the run read it"):
        list(tables)


def test_files_are_found_and_read_through_fsspec() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/test_sources/b.jsonl.gz", gzip.compress(b'{"_id": "2", "text": "two"}\n'))
    fs.pipe("/test_sources/a.jsonl", b'{"_id": "1", "text": "one"}\n')
    try:
        files = list_files("corpus", SourceConfig(path=("memory://test_sources/*",)))
        assert [file.uri for file in files] == ["memory:///test_sources/a.jsonl", "memory:///test_sources/b.jsonl.gz"]
        assert [row["text"] for file in files for table in read(file) for row in table.to_pylist()] == ["one", "two"]
    finally:
        fs.rm("/test_sources", recursive=True)


def test_storage_options_reach_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "one"}\n')
    options = {"path": str(tmp_path), "target_protocol": "file"}
    (file,) = list_files("corpus", SourceConfig(path=("dir://a.jsonl",), storage_options=options))
    assert [row["text"] for table in read(file) for row in table.to_pylist()] == ["one"]


def test_storage_options_are_never_written_down() -> None:
    source = SourceConfig(path=("x.jsonl",), storage_options=SECRET)
    beir = DataConfig(beir="folder", storage_options=SECRET)
    separate = DataConfig(corpus=source, queries=source, judgements=source)
    for config in (source, beir, separate):
        for written in (repr(config), str(config), str(config.model_dump()), config.model_dump_json()):
            assert "do not tell" not in written
            assert "storage_options" not in written
    assert source.storage_options == SECRET


def test_a_found_file_carries_its_storage_options_but_does_not_show_them(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jsonl")
    source = SourceConfig(path=(str(tmp_path / "a.jsonl"),), storage_options={"auto_mkdir": False})
    (file,) = list_files("corpus", source)
    assert file.storage_options == {"auto_mkdir": False}
    assert "auto_mkdir" not in repr(file)
    assert "auto_mkdir" not in str(file)


def test_a_path_or_a_list_of_paths_is_a_source() -> None:
    data = DataConfig.model_validate({"corpus": "c.jsonl", "queries": ["q1.csv", "q2.csv"], "judgements": "j.tsv"})
    assert data.corpus == SourceConfig(path=("c.jsonl",))
    assert data.queries == SourceConfig(path=("q1.csv", "q2.csv"))


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"corpus": "c.jsonl"},
        {"corpus": "c.jsonl", "queries": "q.jsonl"},
        {"beir": "folder", "pairs": "p.jsonl"},
        {"beir": "folder", "corpus": "c.jsonl", "queries": "q.jsonl", "judgements": "j.tsv"},
        {"pairs": "p.jsonl", "queries": "q.jsonl"},
    ],
)
def test_layouts_that_are_missing_or_mixed_are_refused(layout: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="give either beir, or corpus, queries and judgements together, or pairs"):
        DataConfig.model_validate(layout)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_beir_folder_has_its_three_files(tmp_path: Path, ending: str) -> None:
    _touch(tmp_path, *(name + ending for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/dev.tsv")))
    data = DataConfig(beir=f"{tmp_path}/", split="test")
    found = [data.files(kind) for kind in ("corpus", "queries", "judgements")]
    assert [[file.uri for file in files] for files in found] == [
        [f"file://{tmp_path}/{name}{ending}"] for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
    ]


def test_a_missing_split_is_refused_with_the_splits_there_are(tmp_path: Path) -> None:
    _touch(tmp_path, "corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/dev.tsv.gz")
    with pytest.raises(InputError, match=r"qrels/train\.tsv does not exist.*Splits there: dev, test\."):
        DataConfig(beir=str(tmp_path)).files("judgements")


def test_a_folder_that_is_no_beir_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.beir: .*corpus\.jsonl does not exist.*A BEIR folder has"):
        DataConfig(beir=str(tmp_path)).files("corpus")


def test_pairs_are_corpus_queries_and_judgements(tmp_path: Path) -> None:
    _touch(tmp_path, "p.jsonl")
    data = DataConfig(pairs=SourceConfig(path=(str(tmp_path / "p.jsonl"),)))
    corpus, queries, judgements = (data.files(kind) for kind in ("corpus", "queries", "judgements"))
    assert corpus == queries == judgements
    assert [file.kind for file in corpus] == ["pairs"]


def test_vectors_are_there_where_a_column_is_named() -> None:
    with_vectors = SourceConfig(path=("x.parquet",), columns={"vector": "embedding"})
    data = DataConfig(corpus=with_vectors, queries=SourceConfig(path=("q",)), judgements=SourceConfig(path=("j",)))
    assert data.has_vectors("corpus")
    assert not data.has_vectors("queries")
    assert not DataConfig(beir="folder").has_vectors("corpus")


GLOB_NAMES = ["run[1]/c.jsonl", "c[1].jsonl", "what?/c*.jsonl", "a[b/c]d.jsonl", "[x]/[y]/c.jsonl"]


@pytest.mark.parametrize("name", GLOB_NAMES)
def test_a_path_that_is_there_as_it_is_written_is_no_glob(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, *GLOB_NAMES, "run1/c.jsonl", "c1.jsonl", "whats/cc.jsonl")
    (tmp_path / name).write_text('{"id": 1, "text": "meant"}\n')
    (file,) = list_files("corpus", SourceConfig(path=(str(tmp_path / name),)))
    assert [row["text"] for table in read(file) for row in table.to_pylist()] == ["meant"]


@pytest.mark.parametrize("folder", ["run[1]", "what?", "deep/[x]"])
def test_a_glob_in_a_folder_with_such_a_name_finds_its_files(tmp_path: Path, folder: str) -> None:
    _touch(tmp_path, f"{folder}/a.jsonl", f"{folder}/b.jsonl", "run1/c.jsonl", "whats/c.jsonl", "deep/x/c.jsonl")
    assert _found(tmp_path / folder / "*.jsonl") == ["a.jsonl", "b.jsonl"]


def test_a_beir_folder_may_have_such_a_name(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "run[1]", "corpus.jsonl", "queries.jsonl", "qrels/train.tsv")
    assert len(DataConfig(beir=str(folder)).files("judgements")) == 1


def test_a_folder_where_a_file_belongs_is_called_one_and_the_other_way_round(tmp_path: Path) -> None:
    _touch(tmp_path, "sub/a.jsonl")
    with pytest.raises(InputError, match=r"It is a folder; name its files, as in .*sub/\*\.jsonl"):
        _found(tmp_path / "sub")
    for path in ("sub/a.jsonl/b.jsonl", "sub/a.jsonl/*.jsonl"):
        with pytest.raises(InputError, match="no file at"):
            _found(tmp_path / path)
    with pytest.raises(InputError, match=r"data\.beir: .*a\.jsonl/corpus\.jsonl does not exist"):
        DataConfig(beir=str(tmp_path / "sub" / "a.jsonl")).files("corpus")


@pytest.mark.parametrize("name", ["x.jsonl.sz", "x.csv.br", "x.tar", "x.tsv.7z"])
def test_a_compression_that_is_not_read_is_refused(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, name)
    with pytest.raises(InputError, match=r"are not read\. Decompress it, or compress it as one of \.gz, "):
        _found(tmp_path / name)


def test_a_file_that_may_not_be_read_or_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _touch(tmp_path, "a.jsonl") / "a.jsonl"
    (file,) = list_files("corpus", SourceConfig(path=(str(path),)))
    path.unlink()
    with pytest.raises(InputError, match=r"a\.jsonl: the file cannot be opened \(No such file"):
        list(read(file))
    path.mkdir()
    with pytest.raises(InputError, match=r"a\.jsonl: the file cannot be opened \(Is a directory"):
        list(read(file))


class _Refusing(http.server.BaseHTTPRequestHandler):
    status = 500

    def do_GET(self) -> None:
        self.send_error(int(self.path.strip("/").partition("/")[0]))

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
def test_only_what_a_server_does_not_have_is_no_file(refusing_server: str, status: int) -> None:
    with pytest.raises(InputError) as refused:
        _found(f"{refusing_server}/{status}/x.jsonl")
    assert ("no file at" in str(refused.value)) == (status in (404, 410))
    assert str(status) in str(refused.value)


@pytest.mark.parametrize("path", ["http://127.0.0.1:{}/x.jsonl", "http://127.0.0.1:{}/*.jsonl"])
def test_a_port_where_nobody_listens_is_no_missing_file(path: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = path.format(closed.getsockname()[1])
        with pytest.raises(InputError, match="the server does not answer") as refused:
            _found(uri)
        with pytest.raises(InputError, match="the server does not answer"):
            DataConfig(beir=uri.rpartition("/")[0]).files("corpus")
    assert "no file" not in str(refused.value)


@pytest.mark.parametrize("labels", ["SUPPORT", {"a": 1}, [["a"]], [None]])
def test_positive_labels_are_a_list_of_labels(labels: object) -> None:
    with pytest.raises(ValidationError, match="positive_labels"):
        DataConfig.model_validate({"beir": "x", "positive_labels": labels})
    assert DataConfig.model_validate({"beir": "x", "positive_labels": ["a", 1, True]}).positive_labels == (
        "a",
        "1",
        "true",
    )
    with pytest.raises(ValidationError, match="pairs have none"):
        DataConfig.model_validate({"pairs": "x", "positive_labels": ["a"]})
