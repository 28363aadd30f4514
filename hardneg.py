"""The Python API of hardneg: see `pipelines`."""

from pipelines import Mined, evaluate, load_config, mine, mine_hard_negatives, plan, status, verify

__all__ = ["Mined", "evaluate", "load_config", "mine", "mine_hard_negatives", "plan", "status", "verify"]
