"""Propose documents whose metadata meet a rule."""

from operators.candidates.corpus_sampler import RuleText
from operators.candidates.proposers.uniform import Uniform


class Metadata(Uniform):
    """Documents drawn uniformly from those that meet a rule.

    Attributes:
        where: the rule, such as `year < 2010 and domain != query.domain`.
    """

    where: RuleText
