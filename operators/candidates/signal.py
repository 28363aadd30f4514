"""A signal: a number known about each candidate, for filters and draws."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.settings import Settings


class Signal(Settings):
    """Computes one number for every candidate.

    A signal is a class that derives from this one: in a module of its own in operators/candidates/signals/, which is
    its name, or in your own code, named as `module:name`. Its fields are the keys of its section of `signals`. Filters
    and draws read it under `gives`.

    Attributes:
        signal: its name.
        gives: the name of the number.
    """

    signal: str = ""

    gives: ClassVar[str]

    @property
    def reads_lists(self) -> bool:
        """Whether it reads how similar candidates are to the list of their query, which takes their vectors."""
        return False

    def caveat(self) -> str | None:
        """Return what a run with it warns of; None where there is nothing."""
        return None

    @abstractmethod
    def __call__(self, candidates: pa.Table, positives: pa.Table) -> npt.NDArray[np.float32]:
        """Return the number of each candidate, float32 of shape (n,). May be called twice on the same batch.

        Args:
            candidates: schema CANDIDATES, those of one query together, best first.
            positives: schema POSITIVES, of the same queries.
        """
