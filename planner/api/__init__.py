"""The front door: what the command line does, as functions."""
