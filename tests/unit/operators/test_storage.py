import socket
import time
from collections.abc import Iterator

import pytest

from operators.errors import InputError
from operators.storage import check_storage, is_storage_error, redacted, refuse_credentials, with_timeout


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:hidden@bucket/run",
        "simplecache::s3://key:hidden@bucket/run",
        "https://hidden@host/corpus.jsonl",
        "https://host/corpus.jsonl?x-amz-signature=hidden",
        "https://host/corpus.jsonl?a=1&SIG=hidden&b=2",
        "gs://bucket/corpus.jsonl?token=hidden",
    ],
)
def test_a_credential_in_a_uri_is_refused_by_its_key_and_not_repeated(uri: str) -> None:
    with pytest.raises(InputError, match=r"^data\.corpus\.path: the URI .* carries a credential") as refused:
        refuse_credentials("data.corpus.path", uri)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        "runs/first",
        "C:/data/user@home:1/corpus.jsonl",
        "s3://bucket/part-?.jsonl",
        "s3://bucket/key?versionId=12",
        "s3://bucket/user:name@host/corpus.jsonl",
        "abfs://container@account.dfs.core.windows.net/corpus.jsonl",
        "sftp://user@host/corpus.jsonl",
        "https://host/corpus.jsonl?download=true",
    ],
)
def test_other_uris_are_not(uri: str) -> None:
    refuse_credentials("run", uri)


def test_a_message_is_one_short_line_without_the_secrets_of_the_options() -> None:
    options = {"key": "the-key", "client_kwargs": {"aws_secret_access_key": "the-secret"}, "anon": False}
    line = redacted(ValueError("the-key and\nthe-secret of " + "x" * 1000), options)
    assert line.startswith("ValueError: *** and *** of xxx")
    assert len(line) < 320


def test_an_error_of_storage_is_known_in_a_chain_and_in_the_text_of_another() -> None:
    class EndpointConnectionError(Exception):
        __module__ = "botocore.exceptions"

    wrapped = RuntimeError("outer")
    wrapped.__cause__ = EndpointConnectionError("inner")
    quoting = RuntimeError(
        "Traceback:\n  File x\nbotocore.exceptions.EndpointConnectionError: Could not connect\n\nmore"
    )
    assert is_storage_error(wrapped)
    assert is_storage_error(quoting)
    assert redacted(quoting, {}) == "EndpointConnectionError: Could not connect"
    assert not is_storage_error(RuntimeError("something about botocore.exceptions.EndpointConnectionError: x"))
    assert not is_storage_error(FileNotFoundError("x"))


def test_what_takes_too_long_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="0 s"):
        with_timeout(0.2, lambda: time.sleep(2))
    assert time.monotonic() - began < 1
    assert with_timeout(5, lambda: "answer") == "answer"
    with pytest.raises(KeyError):
        with_timeout(5, lambda: dict[str, int]()["missing"])


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
def test_a_server_that_never_answers_is_refused_in_time(silent_server: str) -> None:
    options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": silent_server, "region_name": "us-east-1"}}
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"s3://bucket/run: the store does not answer .TimeoutError: no answer within 12"
    ):
        check_storage("run", "s3://bucket/run", options)
    assert time.monotonic() - began < 15
