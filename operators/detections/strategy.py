"""A strategy: which samples are hard, and how hard."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from operators.detections.boxes import Floats
from operators.detections.tables import Samples
from operators.errors import InputError, did_you_mean, shown
from operators.plugins import code_of
from operators.settings import Settings

DEFAULT = "default"
_Share = Annotated[float, Field(ge=0, le=1)]


def _has_default(value: float | Mapping[str, float]) -> float | Mapping[str, float]:
    if isinstance(value, Mapping) and DEFAULT not in value:
        raise ValueError("a number for each class needs one for the others: add the key `default`")
    return value


# A number from 0 to 1, or one for each class by its name, and `default` for the others.
PerClass = Annotated[_Share | dict[str, _Share], AfterValidator(_has_default)]


class Strategy(Settings):
    """Says how hard each sample is.

    A strategy is a class that derives from this one: in a module of its own in operators/detections/strategies/, which
    is its name, or in your own code, named as `module:name`. Its fields are the keys of its section of
    `select.strategies`.

    Attributes:
        strategy: its name; hard samples carry it.
        weight: its hardness counts so many times where several strategies are compared.
    """

    strategy: str = ""
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    @abstractmethod
    def hardness(self, samples: Samples) -> Floats:
        """Return how hard each sample is, from 0 to 1, and minus infinity where it is not: float64 of shape (n,).

        A pure function of each sample alone: which others are in the batch changes nothing.
        """

    def code(self) -> str | None:
        """Return a digest of its code where it is not ours."""
        return code_of(self)

    def check_classes(self, names: Iterable[str]) -> None:
        """Refuse numbers for classes that there are not.

        Raises:
            InputError: it names the first of them.
        """
        known = set(names)
        for key in type(self).model_fields:
            value = getattr(self, key)
            unknown = sorted(set(value) - known - {DEFAULT}) if isinstance(value, Mapping) else []
            if unknown:
                raise InputError(
                    f"select.strategies: {self.strategy}.{key}: there is no class {shown(unknown[0])}."
                    f"{did_you_mean(unknown[0], known)} Name classes as the data does."
                )
