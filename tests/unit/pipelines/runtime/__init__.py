"""Tests of pipelines/runtime."""
