"""Failures that may pass when tried again differ from those the user has to mend."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from operators.errors import InputError, TransientError
from operators.vectors.model_failures import failure, may_pass
from operators.vectors.model_files import weights_digest


class OutOfMemoryError(RuntimeError):
    """As torch's, which needs a GPU."""


class OfflineModeIsEnabled(ConnectionError):
    """As the hub client's."""


class Answered(OSError):
    """As the hub client's: an error that has a response."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = type("Response", (), {"status_code": status})()


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (Exception("I/O error: Cannot allocate memory (os error 12)"), True),
        (Exception("I/O error: No such file or directory (os error 2)"), False),
        (caused(OSError("We couldn't connect to the hub"), TimeoutError()), True),
        (caused(OSError("We couldn't connect to the hub"), OfflineModeIsEnabled()), False),
        (Answered(503), True),
        (Answered(429), True),
        (Answered(404), False),
        (Answered(401), False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError("Error no file named model.safetensors found in directory /memory"), False),
        (ValueError("a wrong value"), False),
        (KeyError("embedding.weight"), False),
    ],
)
def test_what_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) == passes
    assert isinstance(failure(error, "encoder.model: m", "Mend it."), TransientError if passes else InputError)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails when it is read")
def test_a_storage_that_fails_while_the_model_is_read_is_no_fault_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("/proc/self/mem")  # reading its first page is an I/O error
    with pytest.raises(TransientError, match=r"model\.safetensors cannot be read.*Input/output"):
        weights_digest(tmp_path)


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from operators.errors import TransientError
from operators.vectors.encoder import EncoderConfig
from operators.vectors.model_load import load_model
from sentence_transformers import SentenceTransformer

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (96 << 20),) * 2)
try:
    load_model(EncoderConfig(model=sys.argv[1]), "cpu")
except TransientError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_too_little_memory_for_the_model_is_no_fault_of_the_user(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    save_file({"embedding.weight": torch.zeros(50_000, 1024)}, tmp_path / "model.safetensors")
    modules = '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]'
    (tmp_path / "modules.json").write_text(modules, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "cannot be loaded" in done.stdout
    assert "allocate memory" in done.stdout
