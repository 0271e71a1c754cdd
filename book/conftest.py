"""Chapters are tests: see tools/nbval_plugin.py."""

from nbval_plugin import pytest_collect_file

__all__ = ["pytest_collect_file"]
