"""Sample by a softmax over the scores."""

from pydantic import Field

from operators.candidates.draw import Priority
from operators.candidates.pairs import Pairs
from operators.candidates.weighted import KEYS, WeightedDraw


class Softmax(WeightedDraw):
    """A candidate is taken with probability proportional to exp(score / temperature), without repetition.

    Gumbel top-k (Kool, van Hoof and Welling, "Stochastic beams and where to find them", arXiv 1903.06059, section 2.3).

    Attributes:
        temperature: in units of the score: towards 0 it is `top`, towards infinity `random`. Scores of different
            models have different scales, so there is no default. 0.05 is a beginning for cosine.
    """

    needs = (*KEYS, "score")
    temperature: float = Field(gt=0)

    def log_weight(self, pairs: Pairs) -> Priority:
        """Return score / temperature."""
        return pairs["score"].astype("float64") / self.temperature
