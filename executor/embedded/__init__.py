"""The embedded models: tiny, real, and trained for a task that needs several proposers."""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "model"
