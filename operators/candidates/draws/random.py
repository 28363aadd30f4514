"""Take a uniform sample of the window."""

from operators.candidates.draw import Draw, Priority
from operators.candidates.pairs import Pairs
from operators.keys import uniform


class Random(Draw):
    """A uniform sample of the eligible candidates of each row, without repetition.

    Every candidate draws a number from (seed, query, positive, document), and the highest of a row win: what else is
    in the batch and in which order changes nothing.
    """

    needs = ("query_key", "positive_key", "doc_key")

    def priority(self, pairs: Pairs) -> Priority:
        """Return a random number for each pair."""
        return -uniform(self.seed, *(pairs[key] for key in self.needs))
