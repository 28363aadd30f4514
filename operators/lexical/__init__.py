"""Operators over words: texts become terms, and BM25 scores documents by the terms that they share with a query."""
