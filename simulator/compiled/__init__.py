"""Workloads as tables of calls, played by a compiled event loop."""
