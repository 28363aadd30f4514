"""How likely each candidate is relevant although nobody judged it: a model, and how it is fitted and measured."""
