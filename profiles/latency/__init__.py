"""Latency profiles: what iterations cost, fitted to measurements."""
