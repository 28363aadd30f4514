"""Sources, run directory and output in an object store: a real S3 server on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest

from infra.local.object_store import ObjectStore, temporary_object_store
from operators.errors import InputError
from pipelines.config import load
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.object_store import ONE_REQUEST
from pipelines.runtime.storage.records import DamagedError
from pipelines.runtime.storage.run_directory import StageFolder
from tests.integration.conftest import Collection, configuration, dataset, run, stored_dataset

SECONDS_TO_REFUSE = 45  # of which most is the start of Python with its libraries on a busy machine
MIB = 1 << 20
# No credentials but those that a test gives, and no waiting for the metadata service of a cloud.
BARE = {
    **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@pytest.fixture
def folder(object_store: ObjectStore, bucket: str) -> StageFolder:
    return StageFolder(f"{bucket}/run", object_store.storage_options())


def pending_uploads(folder: Folder) -> list[Any]:
    bucket = folder.uri.removeprefix("s3://").partition("/")[0]
    return list(folder.fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", []))


def test_what_is_written_is_read_back_and_listed(folder: StageFolder) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert folder.names() == []
    assert folder.manifest() is None
    records = [folder.write_table(f"deep/part-0.{kind}", table) for kind in ("parquet", "arrow")]
    for record in records:
        assert folder.read_table(record).equals(table)
        assert folder.read_table(record, ["b"]).equals(table.select(["b"]))
    Folder(folder.uri, folder.storage_options).write_bytes("deep/another", b"")
    assert folder.names("deep") == ["another", "part-0.arrow", "part-0.parquet"]
    assert folder.read_bytes("deep/another") == b""
    assert folder.differing(records) == []
    for unit in range(30):
        folder.commit_units("step", "batch", {f"{unit:05d}": {"rows_out": unit}})
    assert folder.done_units("step") == {f"{unit:05d}": {"rows_out": unit} for unit in range(30)}
    assert folder.done_units("other") == {}
    folder.write_bytes("deep/part-0.arrow", folder.read_bytes("deep/part-0.arrow")[:-1] + b"x")
    with pytest.raises(DamagedError, match="checksum"):
        folder.read_table(records[1])
    folder.clear("deep")
    folder.clear("deep")
    assert folder.names("deep") == ["another"]  # which no stage writes
    assert [what for _, what in folder.differing(records)] == ["the file is missing"] * 2
    folder.remove("deep/another")
    folder.remove("deep/another")
    assert folder.names("deep") == []


def test_a_range_of_a_file_that_is_missing_or_too_short_is_damage(folder: StageFolder) -> None:
    folder.write_bytes("whole", b"0123456789")
    assert folder.read_ranges([("whole", 0, 4), ("whole", 8, 10)]) == [b"0123", b"89"]
    for name, start, end in (("whole", 8, 11), ("whole", 12, 14), ("whole", 10, 11), ("none", 0, 1)):
        with pytest.raises(DamagedError, match=name):
            folder.read_ranges([("whole", 0, 4), (name, start, end)])


def test_a_large_file_goes_in_parts_and_one_that_fails_leaves_nothing(folder: StageFolder) -> None:
    block = os.urandom(MIB)

    def write(name: str, *, fails: bool) -> None:
        def fill(stream: IO[bytes]) -> None:
            for _ in range(60):
                stream.write(block)
            if fails:
                raise RuntimeError

        folder.write(name, fill)

    write("large", fails=False)
    info = folder.fs.info(folder.path("large"))
    assert info["size"] == 60 * MIB
    assert re.fullmatch(r'"[0-9a-f]{32}-4"', info["ETag"])  # the number of its parts
    assert folder.read_bytes("large") == block * 60
    with pytest.raises(RuntimeError):
        write("failed", fails=True)
    with pytest.raises(RuntimeError):
        write("large", fails=True)
    assert folder.names() == ["large"]
    assert folder.fs.info(folder.path("large"))["ETag"] == info["ETag"]
    assert pending_uploads(folder) == []


def test_an_upload_that_breaks_between_its_parts_is_aborted(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    fs = folder.fs
    call = fs.call_s3

    def break_at_the_second(method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        sent.append(method)
        if sent.count("upload_part") == 2:
            assert len(pending_uploads(StageFolder(folder.uri, {**folder.storage_options, "max_paths": 1}))) == 1
            raise ConnectionError
        return call(method, *args, **kwargs)

    def fill(stream: IO[bytes]) -> None:
        stream.write(bytes(ONE_REQUEST) * 7)

    monkeypatch.setattr(fs, "call_s3", break_at_the_second)
    with pytest.raises(ConnectionError):
        folder.write("broken", fill)
    monkeypatch.undo()
    assert "create_multipart_upload" in sent
    assert folder.names() == []
    assert pending_uploads(folder) == []


def upload(store: ObjectStore, collection: Collection, bucket: str) -> str:
    store.file_system().put(f"{collection.folder}/", f"{bucket}/beir/", recursive=True)
    return f"{bucket}/beir"


def written(tmp_path: Path, raw: Mapping[str, Any]) -> Path:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(raw), encoding="utf-8")
    return config


def command(config: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", "mine", str(config), "--engine", "local", *more]


def secrets_of(store: ObjectStore) -> list[bytes]:
    return [part.encode() for one in (store.admin, store.reader) for part in (one.key, one.secret)]


@pytest.fixture(scope="module")
def reference(collection: Collection, static_model: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The triplets from and to local files."""
    folder = tmp_path_factory.mktemp("reference")
    run(configuration(folder, collection, static_model))
    return dataset(folder)


@pytest.mark.parametrize("given", [pytest.param("environment", marks=pytest.mark.slow), "configuration"])
def test_a_run_in_an_object_store_gives_the_same_and_writes_no_key_anywhere(
    *,
    collection: Collection,
    static_model: Path,
    object_store: ObjectStore,
    bucket: str,
    reference: pa.Table,
    tmp_path: Path,
    given: str,
) -> None:
    raw = configuration(f"{bucket}/run", None, static_model, data={"beir": upload(object_store, collection, bucket)})
    settings = raw.model_dump(mode="json")
    environment = BARE
    if given == "environment":
        environment = {**BARE, **object_store.environment()}
    else:
        settings["storage_options"] = settings["data"]["storage_options"] = object_store.storage_options()
    settings["engine"]["cache"] = str(tmp_path / "cache")
    config = written(tmp_path, settings)
    done = subprocess.run(command(config, "--json"), capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout.splitlines()[-1])
    assert re.fullmatch(rf"{bucket}/run/export/[0-9a-f]{{16}}/triplet", result["outputs"]["triplet"])

    fs = object_store.file_system()
    assert stored_dataset(fs, f"{bucket}/run", tmp_path / "mined").equals(reference)
    assert not [name for name in fs.find(f"{bucket}/run") if "_lease" in name]
    again = subprocess.run(command(config, "--json"), capture_output=True, env=environment, check=True)
    assert all(stage["reused"] for stage in json.loads(again.stdout.splitlines()[-1])["stages"].values())
    everything = tmp_path / "everything"
    fs.get(f"{bucket}/run", str(everything), recursive=True)
    files = [path.read_bytes() for path in everything.rglob("*") if path.is_file()]
    assert len(files) > 20
    stored = [*files, done.stdout, done.stderr, again.stdout, again.stderr]
    assert not [secret for secret in secrets_of(object_store) for one in stored if secret in one]


def settings_of(bucket: str, collection: Collection, static_model: Path, **changed: Any) -> dict[str, Any]:  # noqa: ANN401
    return {**configuration(f"{bucket}/run", collection, static_model).model_dump(mode="json"), **changed}


def refused(config: Path, environment: Mapping[str, str]) -> str:
    """Run the command line; assert that it is refused in time, and return the one line that it says."""
    began = time.monotonic()
    done = subprocess.run(command(config), capture_output=True, text=True, env=dict(environment), check=False)
    assert done.returncode == 2, done.stderr
    assert time.monotonic() - began < SECONDS_TO_REFUSE
    assert not done.stdout
    assert done.stderr.startswith("hardneg: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("where", ["run", pytest.param("data.beir", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong" * 8}, "secret key does not belong to the access key (SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "AKUNKNOWN123456"}, "does not know the access key (InvalidAccessKeyId"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found (NoCredentialsError"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer (EndpointConnectionError"),
        ({"BUCKET": "no-such-bucket"}, "there is no such bucket (NoSuchBucket"),
    ],
    ids=["wrong secret", "unknown key", "no credentials", "no server", "no bucket"],
)
def test_a_store_that_cannot_be_used_is_refused_in_one_line(
    *,
    collection: Collection,
    static_model: Path,
    object_store: ObjectStore,
    bucket: str,
    tmp_path: Path,
    where: str,
    changed: dict[str, str],
    said: str,
) -> None:
    environment = {**BARE, **object_store.environment(), **changed}
    environment = {name: value for name, value in environment.items() if value}
    place = f"s3://{changed['BUCKET']}" if "BUCKET" in changed else bucket
    settings = settings_of(place, collection, static_model)
    if where == "data.beir":
        settings["run"] = str(tmp_path / "run")
        settings["data"]["beir"] = f"{place}/beir"
    line = refused(written(tmp_path, settings), environment)
    assert line.startswith(f"hardneg: {where}: {place}/")
    assert said in line
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert name not in environment or environment[name] not in line
    assert not (tmp_path / "run").exists()
    assert "s3://no-such-bucket" not in [f"s3://{name}" for name in object_store.file_system().ls("")]


def test_an_identity_that_may_only_read_is_refused_and_nothing_is_written(
    collection: Collection, static_model: Path, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    config = written(tmp_path, settings_of(bucket, collection, static_model))
    line = refused(config, {**BARE, **object_store.environment(object_store.reader)})
    assert line.startswith(f"hardneg: run: {bucket}/run: the store does not allow this (AccessDenied")
    assert object_store.file_system().ls(bucket) == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIDKEY:hidden-secret@bucket/run",
        "https://user:hidden-secret@host/corpus.jsonl",
        "https://bucket.host/corpus.jsonl?X-Amz-Signature=hidden-secret",
        "https://account.host/corpus.jsonl?sv=1&sig=hidden-secret",
    ],
)
def test_a_uri_with_a_credential_in_it_is_refused_without_repeating_it(
    uri: str, static_model: Path, tmp_path: Path
) -> None:
    settings = configuration(tmp_path / "run", None, static_model, data={"beir": "x"}).model_dump(mode="json")
    for key in ("run", "corpus"):
        if key == "run":
            raw = {**settings, "run": uri}
        else:
            sources = {"corpus": uri, "queries": "q.jsonl", "judgements": "j.tsv"}
            raw = {**settings, "data": sources}
        with pytest.raises(InputError, match="carries a credential") as error:
            run(load(str(written(tmp_path, raw))))
        assert "hidden-secret" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def own_store() -> Iterator[ObjectStore]:
    """A store that a test may kill."""
    with temporary_object_store() as store:
        store.make_bucket("hardneg")
        yield store


def units(store: ObjectStore) -> dict[str, Any]:
    """The committed units, each with the time at which it was."""
    found = store.file_system().find("s3://hardneg/run", detail=True)
    committed = re.compile(r".*/_units/[^/]+/[^/]+/[^/]+\.json")
    return {name: info["LastModified"] for name, info in found.items() if committed.fullmatch(name)}


def wait_for_units(process: subprocess.Popen[str], store: ObjectStore, stage: str) -> None:
    until = time.monotonic() + 90
    while not any(f"/{stage}/" in name for name in units(store)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_store_that_dies_in_the_middle_ends_the_run_in_one_line_and_the_next_goes_on(
    collection: Collection, static_model: Path, own_store: ObjectStore, tmp_path: Path
) -> None:
    settings = settings_of("s3://hardneg", collection, static_model)
    settings["data"]["beir"] = upload(own_store, collection, "s3://hardneg")
    settings["data"]["partition_rows"] = 16
    settings["data"]["storage_options"] = settings["storage_options"] = own_store.storage_options()
    settings["engine"]["cache"] = str(tmp_path / "cache")
    config = written(tmp_path, settings)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(config), env=BARE, **pipes)
    try:
        wait_for_units(process, own_store, "encode")
        process.send_signal(signal.SIGSTOP)
        before = units(own_store)
        own_store.kill()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, err
    assert not out
    ours = [line for line in err.splitlines() if line.startswith("hardneg: ")]
    assert len(ours) == 1
    assert "s3://hardneg/run: a storage failed in the middle of the run (EndpointConnectionError" in ours[0]
    assert "the same command goes on" in ours[0]
    assert "Traceback" not in err
    assert not [secret for secret in secrets_of(own_store) if secret.decode() in err]

    own_store.start()
    began = time.monotonic()
    done = subprocess.run(command(config), capture_output=True, text=True, env=BARE, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
    after = units(own_store)
    kept = {name: at for name, at in before.items() if "/prepare/" in name or "/encode/" in name}
    assert kept
    assert not [name for name, at in kept.items() if name in after and after[name] != at]
    assert [name for name in kept if "/encode/" in name and name in after]
    # Its empty folders have no content.
    stored = own_store.file_system().cat("hardneg/run", recursive=True, on_error="omit").values()
    assert not [secret for secret in secrets_of(own_store) for one in stored if secret in one]
    run(configuration(tmp_path / "reference", collection, static_model, data={"partition_rows": 16}))
    mined = stored_dataset(own_store.file_system(), "s3://hardneg/run", tmp_path / "mined")
    assert mined.equals(dataset(tmp_path / "reference"))


def test_credentials_and_endpoint_may_come_from_a_profile(
    object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    profile = [
        "[profile research]",
        f"aws_access_key_id = {object_store.admin.key}",
        f"aws_secret_access_key = {object_store.admin.secret}",
        f"endpoint_url = {object_store.endpoint}",
        "region = us-east-1",
    ]
    (tmp_path / "config").write_text("\n".join(profile), encoding="utf-8")
    environment = {**BARE, "AWS_CONFIG_FILE": str(tmp_path / "config")}
    look = f"from operators.storage import check_storage as c; c('run', '{bucket}/run', %s)"
    for options, given in (({}, {"AWS_PROFILE": "research"}), ({"profile": "research"}, {})):
        subprocess.run([sys.executable, "-c", look % options], env={**environment, **given}, check=True)


@pytest.mark.slow
def test_the_local_server_prints_its_address_and_keys() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "infra.local.object_store"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert server.stdout is not None
    given = dict(server.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(4))
    assert "s3://hardneg/" in server.stdout.readline()
    try:
        write = "import fsspec; fsspec.filesystem('s3').pipe_file('hardneg/one', b'1')"
        subprocess.run([sys.executable, "-c", write], env={**BARE, **given}, check=True)
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0
