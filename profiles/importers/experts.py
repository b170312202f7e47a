"""Times of a layer's experts by tokens and activated experts (LLMServingSim's ``moe.csv``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.hardware.model_shape import ModelShape
from profiles.importers.deployment import Deployment
from profiles.importers.rows import read_rows
from staircase.errors import ProfileError

WHAT = "a table of experts of LLMServingSim"
FILE = "moe.csv"
# Seconds by activated experts, both rising.
Line = tuple[list[int], list[float]]


def experts_s(folder: Path, deployment: Deployment, tokens: NDArray[np.float64]) -> list[float]:
    """Of one layer, where each rank has so many ``tokens``; ``deployment`` has experts.

    The gathered tokens activate as many experts as an even and independent choice of each would
    (``ModelShape.active_experts``). Of those each device computes an equal share, and with them an
    equal share of the pairs of token and expert.

    Raises:
        ProfileError: the table is missing or wrong.
    """
    shape = deployment.shape
    assert shape is not None
    lines = _read(_path(folder, deployment), shape)
    parts = deployment.devices if deployment.is_expert_parallel else 1
    gathered = tokens * deployment.data_parallel
    return [_at(lines, count / parts, shape.active_experts(count) / parts) for count in gathered]


def _path(folder: Path, deployment: Deployment) -> Path:
    """Whole experts are measured on one device, however many hold them."""
    own = folder / FILE
    if own.exists():
        return own
    alone = folder.parent / "tp1" / FILE
    if deployment.is_expert_parallel and alone.exists():
        return alone
    more = ""
    if alone.exists():
        more = f"; {alone} is of whole experts, which expert_parallel: true places"
    raise ProfileError(f"{own}: no such file, and the model has experts{more}")


def _read(path: Path, shape: ModelShape) -> dict[int, Line]:
    """By tokens, rising."""
    found: dict[int, dict[int, float]] = {}
    for row in read_rows(path, ("tokens", "activated_experts", "time_us"), WHAT):
        tokens, active = row.count("tokens", 1), row.count("activated_experts", 1)
        if active > shape.experts:
            raise row.error("activated_experts", f"must be at most the model's {shape.experts}")
        if active in found.setdefault(tokens, {}):
            raise row.error("activated_experts", f"must be one that {tokens} tokens do not have")
        found[tokens][active] = row.positive("time_us") * 1e-6
    return {
        tokens: (sorted(times), [times[active] for active in sorted(times)])
        for tokens, times in sorted(found.items())
    }


def _at(lines: dict[int, Line], tokens: float, active: float) -> float:
    """Linear in both between what was measured."""
    sizes = list(lines)
    seconds = [_along(lines[size], active) for size in sizes]
    return float(np.interp(tokens, sizes, seconds))


def _along(line: Line, active: float) -> float:
    """Beyond its end as between its last two; fewer than its first take as long as that."""
    actives, seconds = line
    if active <= actives[-1] or len(actives) == 1:
        return float(np.interp(active, actives, seconds))
    rise = (seconds[-1] - seconds[-2]) / (actives[-1] - actives[-2])
    return seconds[-1] + max(0.0, rise) * (active - actives[-1])
