"""Operators over documents, queries and judgements: read, clean, identify, judge."""
