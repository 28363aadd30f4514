"""What the steps of a search cost, as benchmarks/costs.py measured it: their ratios decide how a corpus is searched."""

import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("costs.json")
# The vectors that were measured.
DIMENSION = 384
# Comparing all vectors is little work up to so many seconds: an index, which may miss some, would not save more.
LITTLE_SECONDS = 40
# Loading torch takes so many seconds.
TORCH_SECONDS = 5


@dataclass(frozen=True)
class Costs:
    """Nanoseconds on two cores, for vectors of 384 dimensions.

    Attributes:
        compare: a query with a document.
        visit_list: an inverted list, whatever is in it.
        scan_code: a code of 4 bits for every second dimension.
        refine: a document that codes proposed, with its exact vector.
        gpu_flop: floating-point operations that a GPU does in a second; nominal, for half precision.
    """

    compare: float
    visit_list: float
    scan_code: float
    refine: float
    gpu_flop: float

    @property
    def cpu_flop(self) -> float:
        """Floating-point operations in a second, of comparing."""
        return 2 * DIMENSION / self.compare * 1e9

    def little_flop(self, device: str) -> float:
        """Return how many operations are so few that an index cannot save much."""
        return LITTLE_SECONDS * (self.gpu_flop if device == "cuda" else self.cpu_flop)

    def worth_torch(self, flop: float) -> bool:
        """Tell whether so many operations take longer than loading torch does."""
        return flop > TORCH_SECONDS * self.cpu_flop


COSTS = Costs(**json.loads(FILE.read_text(encoding="utf-8")))
