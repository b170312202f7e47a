"""The referee: recorded runs of engines beside their forecasts."""
