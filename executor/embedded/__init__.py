"""The embedded models: tiny, real, and trained for tasks that need several proposers."""

from pathlib import Path

_HERE = Path(__file__).parent
MODEL_FOLDERS = {"embedded": _HERE / "model", "embedded-hard": _HERE / "hard_model"}
"""By the name by which a scenario calls a model."""
