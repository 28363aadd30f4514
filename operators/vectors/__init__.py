"""Operators over vectors: encode, build a shard, search it, merge what the shards found."""
