"""Measures profiles on real engines: latency, prefix caches, quality."""
