"""What LLMServingSim's ``meta.yaml``, beside the folders tp1, tp2, …, says of their model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from profiles.hardware.known_models import known_shape
from profiles.hardware.model_shape import ModelShape
from profiles.importers.deployment import Deployment
from staircase.errors import ProfileError
from staircase.files import read_text

WHAT = "the meta.yaml of LLMServingSim's profiler"


def check_meta(folder: Path, deployment: Deployment) -> None:
    """Raises ProfileError if the bundle is of a known model that is not ``deployment``'s."""
    name = _read(folder).get("model")
    known = known_shape(name) if isinstance(name, str) else None
    if known is None:
        return
    asked = [deployment.layers, *(_sizes(deployment.shape) if deployment.shape else ())]
    measured = [known.layers, *_sizes(known)]
    if asked != measured[: len(asked)]:
        raise ProfileError(
            f"{folder}: holds kernels of {name}: {known.layers} layers, hidden size "
            f"{known.hidden}, {known.experts} experts; what is asked for is another model"
        )


def has_query_norms(folder: Path) -> bool:
    """Whether the architecture normalises queries and keys."""
    return str(_read(folder).get("architecture", "")).startswith("qwen3")


def _sizes(shape: ModelShape) -> tuple[int, int]:
    return shape.hidden, shape.experts


def _read(folder: Path) -> dict[str, Any]:
    """Nothing where there is no such file."""
    path = folder.resolve().parent / "meta.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(read_text(path, ProfileError, WHAT))
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ProfileError(f"{path}: not YAML; it should be {WHAT}") from None
    if not isinstance(content, dict):
        raise ProfileError(f"{path}: must be a mapping; it should be {WHAT}")
    return content
