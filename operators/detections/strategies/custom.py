"""A function of the user's own."""

import numpy as np
from pydantic import field_validator

from operators.detections.boxes import Floats
from operators.detections.strategy import Strategy
from operators.detections.tables import Samples
from operators.errors import InputError
from operators.plugins import code_of_function, function_named


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
        function_named(function)
        return function

    def hardness(self, samples: Samples) -> Floats:
        """Return what the function returns.

        Raises:
            InputError: it raised, or returned something else than a number for each sample.
        """
        try:
            hardness = np.asarray(function_named(self.function)(samples), np.float64)
        except Exception as error:  # the code of a user may raise anything
            raise InputError(
                f"select.strategies: {self.function}: {type(error).__name__}: {error}. Correct this function."
            ) from error
        return hardness

    def code(self) -> str | None:
        """Return a digest of the module that the function is of."""
        return code_of_function(self.function)
