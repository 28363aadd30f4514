"""Draw the images of an epoch by their weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.errors import InputError
from operators.keys import keys_of
from operators.schemas import to_numpy
from operators.segments import first_index
from pipelines.runtime.publication import RECORD
from pipelines.runtime.storage.folder import absolute
from pipelines.runtime.storage.run_directory import RunDirectory

IMAGE_WEIGHTS = "image_weights"


def image_weights(
    run: str, image_ids: Sequence[object], storage_options: dict[str, Any] | None = None
) -> npt.NDArray[np.float64]:
    """Return what a run says that images weigh, in the order in which they are given: float64 of shape (n,).

    Args:
        run: the run directory.
        image_ids: of a data set, as the sources of the run have them.
        storage_options: what fsspec needs to open the run directory.

    Raises:
        InputError: the run exported no weights, or an image is not in it.
    """
    folder = RunDirectory(absolute(run), storage_options or {})
    exported = folder.read_sealed(RECORD)
    files = [file for file in (exported or {}).get("files", []) if f"/{IMAGE_WEIGHTS}/" in file["path"]]
    if not files:
        raise InputError(f"{run}: there are no weights of images. Run `hardneg mine` with `pipeline: detection`.")
    table = pa.concat_tables([folder.read_table(file) for file in files])
    wanted = pa.array([str(one) for one in image_ids], pa.string())
    row = first_index(keys_of(table.column("image_id")), keys_of(wanted))
    if (row < 0).any():
        missing = wanted[int((row < 0).argmax())].as_py()
        raise InputError(f"{run}: the image {missing!r} is not in this run. Are these the ids of its sources?")
    return np.asarray(to_numpy(table, "weight")[row])


class WeightedSampler:
    """Draws places with replacement, each as often as it weighs.

    It does what `torch.utils.data.WeightedRandomSampler` does, which refuses more than 2**24 weights.

    Args:
        weights: of shape (n,), 0 or more.
        num_samples: in an epoch.
        seed: each epoch draws others.

    Raises:
        InputError: a weight is negative or no number, or all are 0.
    """

    def __init__(self, weights: npt.ArrayLike, num_samples: int, seed: int = 0) -> None:
        given = np.asarray(weights, np.float64)
        if not (len(given) and np.isfinite(given).all() and (given >= 0).all() and given.any()):
            raise InputError("WeightedSampler: weights are to be numbers from 0 on, and not all 0.")
        self.up_to, self.num_samples, self.rng = np.cumsum(given), num_samples, np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        """Yield the places of one epoch."""
        drawn = self.rng.random(self.num_samples) * self.up_to[-1]
        yield from np.searchsorted(self.up_to, drawn, side="right").tolist()
