"""Tests of pipelines/text."""
