"""Say in one line why a storage cannot be used: before the work starts, and when it fails in the middle."""

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from operators.errors import InputError, shown

Got = TypeVar("Got")

SECONDS_TO_ANSWER = 12.0
LONGEST_TEXT = 300
HIDDEN = "***"

# What the libraries below fsspec raise; their errors may come wrapped, so the whole chain is looked at.
_LIBRARIES = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure", "requests", "httpx"}
_IN_TEXT = re.compile(rf"^(?:{'|'.join(sorted(_LIBRARIES))})\.[\w.]+: .+$", re.MULTILINE)
_HTTP = {"http", "https"}
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_NOT_FOUND = {404, 410}
_SECRET_PARAMETERS = {
    "access_token",
    "api_key",
    "apikey",
    "awsaccesskeyid",
    "key",
    "password",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
}
_SECRET_OPTIONS = ("key", "secret", "token", "password", "credential", "connection_string", "sas", "username")

# A code of S3, or the name of an exception -> what is wrong, and the remedy. The first that is met in a chain.
_GIVE = "Give credentials in the environment, an AWS profile or storage_options (docs/object_storage.md)."
_UNKNOWN = ("the storage cannot be used", "Check the URI and storage_options (docs/object_storage.md).")
_ENDPOINT = ("the store does not answer", "Check the endpoint: AWS_ENDPOINT_URL, or endpoint_url in storage_options.")
_NO_BUCKET = ("there is no such bucket", "Correct the name, or make the bucket first: hardneg makes none.")
_REASONS: Mapping[str, tuple[str, str]] = {
    "InvalidAccessKeyId": ("the store does not know the access key", _GIVE),
    "SignatureDoesNotMatch": ("the secret key does not belong to the access key", _GIVE),
    "ExpiredToken": ("the credentials have expired", _GIVE),
    "NoCredentialsError": ("no credentials were found", _GIVE),
    "PartialCredentialsError": ("the credentials are incomplete", _GIVE),
    "ProfileNotFound": ("the AWS profile does not exist", _GIVE),
    "NoSuchBucket": _NO_BUCKET,
    "ContainerNotFound": _NO_BUCKET,
    "EndpointConnectionError": _ENDPOINT,
    "ConnectTimeoutError": _ENDPOINT,
    "ClientConnectorError": ("the server does not answer", "Check its name and port, or try again when it is up."),
    "ClientResponseError": ("the server refuses this", "Check the URL and who may read it."),
    "TimeoutError": _ENDPOINT,
    "FileNotFoundError": ("there is no such place", "Correct the URI; a bucket has to be there before the run."),
    "PermissionError": ("the store does not allow this", "Use an identity that may list and read, for `run` write."),
}


def open_uri(uri: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URI and the path in it. Nothing that it lists is kept: what others write is seen."""
    fs, path = fsspec.core.url_to_fs(uri, **_with_fresh_listings(uri, options))
    return fs, str(path)


def info_of(fs: Any, path: str) -> Mapping[str, Any] | None:  # noqa: ANN401 - fsspec is untyped
    """Return what a file system knows about a path, or None where nothing is there.

    Raises:
        Exception: what the storage raised, where it did not answer that nothing is there. Of HTTP, fsspec makes
            "not found" of every failure.
    """
    try:
        info: Mapping[str, Any] = fs.info(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        cause = error.__cause__
        of_http = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp.")
        if cause is not None and of_http and getattr(cause, "status", None) not in _NOT_FOUND:
            raise cause from None
        return None
    return info


def check_storage(key: str, uri: str, options: Mapping[str, Any], *, folder: bool = False) -> None:
    """Look whether a storage answers and takes the credentials; whether the path is there does not matter.

    Args:
        key: of the configuration, for the message.
        uri: a file, a folder or a glob.
        options: what fsspec needs to open it.
        folder: it is to be one, so here no file may be in its place or above it.

    Raises:
        InputError: it does not, a file is where a folder belongs, or the URI itself carries a credential.
    """
    refuse_credentials(key, uri)
    with as_input_error(key, uri, options):
        fs, path = open_uri(uri, options)
        if isinstance(fs, LocalFileSystem):
            if folder:
                _check_folder(key, path)
            return
        with_timeout(SECONDS_TO_ANSWER, lambda: _touch(uri, options, path))


def _check_folder(key: str, path: str) -> None:
    there = path.rstrip("/")
    while there and not os.path.lexists(there):
        there = there.rpartition("/")[0]
    if there and not os.path.isdir(there):
        raise InputError(f"{key}: {shown(there)} is not a folder. Move it, or choose another run directory.")


def refuse_credentials(key: str, uri: str) -> None:
    """Refuse a URI with a password or a signature in it: URIs are written into manifests and reports.

    Raises:
        InputError: it has one; the message does not repeat it.
    """
    for one in uri.split("::"):
        if "://" not in one:
            continue
        parts = urlsplit(one)
        user, at, host = parts.netloc.rpartition("@")
        names = {name.lower() for name, value in parse_qsl(parts.query) if value}
        if (at and (":" in user or parts.scheme in _HTTP)) or names & _SECRET_PARAMETERS:
            raise InputError(
                f"{key}: the URI {parts.scheme}://{host}{parts.path} carries a credential, which would be written "
                f"down with the run. Leave it out of the URI. {_GIVE}"
            )


@contextmanager
def as_input_error(
    key: str, uri: str, options: Mapping[str, Any], allow: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn whatever a storage raises into refused input, with one line.

    Errors of the classes in `passing` stay, and those of a disk that is full or a machine that is short of something.

    Raises:
        InputError: the storage cannot be used as it is configured.
    """
    try:
        yield
    except Exception as error:  # libraries below fsspec share no class of errors
        if isinstance(error, (InputError, *allow)) or getattr(error, "errno", None) in _OF_THE_DISK:
            raise
        what, way_out = _reason(error)
        raise InputError(f"{key}: {uri}: {what} ({redacted(error, options)}). {way_out}") from error


def redacted(error: BaseException, options: Mapping[str, Any]) -> str:
    """Say what an error says, in short, in one line and without the secrets of the options."""
    known = [one for one in _chain(error) if _code(one)]
    quoted = [text for one in _chain(error) for text in _quoted(one)]
    if known or not quoted:
        first = known[0] if known else error
        text = f"{_code(first) or type(first).__name__}: {_message(first)}"
    else:
        name, _, rest = quoted[-1].partition(": ")
        text = f"{name.rpartition('.')[2]}: {rest}"
    text = " ".join(text.split()).rstrip(": .")
    for secret in _secrets_in(options):
        text = text.replace(secret, HIDDEN)
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."


def is_storage_error(error: BaseException) -> bool:
    """Tell whether an error comes from a remote storage."""
    modules = {type(one).__module__ for one in _chain(error)}
    if "fsspec.exceptions" in modules or {module.partition(".")[0] for module in modules} & _LIBRARIES:
        return True
    return any(True for one in _chain(error) for _ in _quoted(one))


def with_timeout(seconds: float, work: Callable[[], Got]) -> Got:
    """Do something that may hang: libraries try again many times, each time for as long as their own limit.

    Raises:
        TimeoutError: it takes longer. It goes on in a thread that is not waited for.
    """
    got: list[Got] = []
    failed: list[BaseException] = []

    def try_it() -> None:
        try:
            got.append(work())
        except BaseException as error:  # raised below, in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not got:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return got[0]


def _touch(uri: str, options: Mapping[str, Any], path: str) -> bool:
    # File systems are kept by thread, so the one for this thread is opened here.
    fs = open_uri(uri, options)[0]
    fixed = path
    while fsspec.core.has_magic(fixed):
        fixed = fixed.rpartition("/")[0]
    try:
        if info_of(fs, fixed) is None:
            fs.info(fixed)
    except FileNotFoundError as error:
        if any(_code(one) in _REASONS for one in _chain(error)):
            raise
        if "/" not in fixed.rstrip("/"):
            fs.ls(fixed)  # the answer to a HEAD request has no body, so it does not say why
    except PermissionError:
        fs.ls(fixed)  # says why
        raise
    return True


def _with_fresh_listings(uri: str, options: Mapping[str, Any]) -> dict[str, Any]:
    chained = "::" in uri  # there, options belong to one of several file systems
    return dict(options) if chained else {"use_listings_cache": False, **options}


def _reason(error: BaseException) -> tuple[str, str]:
    chain = list(_chain(error))  # what a store says is more exact than the class that a library makes of it
    names = [_code(one) for one in chain] + [kind.__name__ for one in chain for kind in type(one).__mro__]
    return next((_REASONS[name] for name in names if name in _REASONS), _UNKNOWN)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        cause = getattr(one, "cause", None)  # where Ray keeps what a worker raised
        left.extend([one.__context__, one.__cause__, cause if isinstance(cause, BaseException) else None])


def _quoted(error: BaseException) -> list[str]:
    """Find the errors of storage in the text of another: all that engines keep of those that cannot be pickled."""
    return _IN_TEXT.findall(str(error))


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return "" if str(code).isdigit() else str(code)


def _message(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        return str(response["Error"].get("Message", ""))
    return str(error)


def _secrets_in(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif isinstance(value, str) and len(value) > 3 and any(word in name.lower() for word in _SECRET_OPTIONS):
            yield value
