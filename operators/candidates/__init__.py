"""Operators over candidates: filters, sampling, selection."""
