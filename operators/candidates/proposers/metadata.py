"""Propose documents whose metadata meet a rule."""

from operators.candidates.proposers.uniform import Uniform
from operators.candidates.rule import RuleText


class Metadata(Uniform):
    """Documents drawn uniformly from those that meet a rule.

    Attributes:
        where: the rule, such as `year < 2010 and domain != query.domain`.
    """

    where: RuleText
