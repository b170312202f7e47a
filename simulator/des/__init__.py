"""Workloads on SimPy: engines, devices and endpoints as discrete-event processes."""
