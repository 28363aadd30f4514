"""Tests of pipelines/reports."""
