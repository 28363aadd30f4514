"""A function of the user's own."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import xxhash
from pydantic import field_validator

from operators.detections.boxes import Floats
from operators.detections.strategy import Strategy
from operators.detections.tables import Samples
from operators.errors import InputError, shown
from operators.plugins import imported


class Custom(Strategy):
    """Whatever a function says: it gets a table of samples and returns an array, as `Strategy.hardness` does.

    Attributes:
        function: `module:function`.
    """

    strategy: str = "custom"
    function: str

    @field_validator("function")
    @classmethod
    def _is_there(cls, function: str) -> str:
        if ":" not in function or not callable(imported(function)):
            raise ValueError(f"{shown(function)}: a function is wanted, as `module:function`")
        return function

    def hardness(self, samples: Samples) -> Floats:
        """Return what the function returns.

        Raises:
            InputError: it raised, or returned something else than a number for each sample.
        """
        function: Callable[[Samples], Any] = imported(self.function)  # type: ignore[assignment]
        try:
            hardness = np.asarray(function(samples), np.float64)
        except Exception as error:  # the code of a user may raise anything
            raise InputError(
                f"select.strategies: {self.function}: {type(error).__name__}: {error}. Correct this function."
            ) from error
        return hardness

    def code(self) -> str | None:
        """Return a digest of the module that the function is of."""
        module = inspect.getmodule(imported(self.function))
        try:
            return None if module is None else xxhash.xxh3_128_hexdigest(inspect.getsource(module).encode())
        except (OSError, TypeError):
            raise ValueError(f"{self.function}: its source is in no file. Define it in a module") from None
