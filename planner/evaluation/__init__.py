"""Schedules on real engines, beside their forecasts and beside each other."""
