"""Devices ``cpu:0``, ``cpu:1``, …: processes with cores of their own."""
