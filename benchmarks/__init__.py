"""Benchmarks: `python -m benchmarks` prints one table of this library beside its peers.

Speed is measured here and nowhere else: no test depends on a clock.
"""
