"""Search: every query in every shard, tuned for a recall, and deeper rounds for queries left short."""
