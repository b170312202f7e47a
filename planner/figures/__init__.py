"""Figures of forecasts and measurements: objectives, units, words, formats."""
