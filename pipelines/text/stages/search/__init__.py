"""Search: every query in every shard, the effort that it takes, and deeper rounds for the queries left short."""
