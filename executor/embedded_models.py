"""The embedded models, tiny and real: where they lie, and how their prompts are written."""

from __future__ import annotations

from pathlib import Path

from executor.tokens.rendering import PromptFormat

_FOLDER = Path(__file__).parent / "embedded"
MODEL_FOLDERS = {"embedded": _FOLDER / "model", "embedded-hard": _FOLDER / "hard_model"}
"""By the name by which a scenario calls a model."""
FORMAT = PromptFormat(header="{role}", query="{query}", label="<from> {source}", own="<write>")
