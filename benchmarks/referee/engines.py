"""A recorded engine as a simulated one, by the same keys as in a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.referee.engine_arguments import Arguments
from profiles.hardware.gpus import Hardware
from profiles.hardware.model_shape import ModelShape
from profiles.hardware.roofline import MEMORY_UTILISATION, Roofline
from simulator.des.batching import BatchingSetup
from simulator.setups import setup_of
from staircase.bounds import MOST_RATE
from staircase.errors import ScenarioError
from staircase.files import first_error
from staircase.spec.simulated_spec import SimulatedSpec


@dataclass(frozen=True)
class Placed:
    """A model where it was served.

    Attributes:
        cost: the keys of ``SimulatedSpec`` that say what an iteration costs.
        hardware: None where it is not known.
        folder: from which paths are counted.
    """

    shape: ModelShape
    cost: Mapping[str, Any]
    hardware: Hardware | None
    folder: Path

    @property
    def devices(self) -> int:
        return int(self.cost.get("tensor_parallel", 1)) * int(self.cost.get("data_parallel", 1))


@dataclass(frozen=True)
class Simulated:
    """Attributes as those of ``RecordedRun``."""

    engine: BatchingSetup
    unlinked: BatchingSetup | None
    remarks: tuple[str, ...]


def simulated(placed: Placed, arguments: Arguments, version: str) -> Simulated:
    """The engine that ``arguments`` say.

    Raises:
        InputError: it cannot be played; says why.
    """
    blocks, remark = _blocks(placed, arguments)
    keys: dict[str, Any] = {**placed.cost, **arguments.limits(version)}
    if blocks is None:
        keys["prefix_caching"] = False
    else:
        keys |= {"kv_blocks": blocks, "block_tokens": arguments.block_tokens}
        keys["prefix_caching"] = arguments.prefix_caching
    remarks = (remark, *(() if "kernels" in keys else ("by roofline",)))
    engine = _setup(keys, placed.folder)
    unlinked = None
    if "link_gb_per_s" in keys and placed.devices > 1:
        free = {"link_gb_per_s": MOST_RATE, "link_latency_s": 0.0}
        unlinked = _setup({**keys, **free}, placed.folder)
    return Simulated(engine, unlinked, tuple(one for one in remarks if one))


def _blocks(placed: Placed, arguments: Arguments) -> tuple[int | None, str]:
    """KV blocks, and what is to be said of their number: where nobody told it, as many as fit.

    Of data-parallel ranks and of hardware that is not known there is no limit then.
    """
    if arguments.blocks:
        return arguments.blocks, ""
    if placed.hardware is None or placed.cost.get("data_parallel", 1) > 1:
        return None, "KV blocks without limit, no prefix cache"
    share = arguments.memory_share / MEMORY_UTILISATION
    device = replace(placed.hardware, memory_gb=placed.hardware.memory_gb * share)
    parallel = placed.cost.get("tensor_parallel", 1)
    blocks = Roofline(placed.shape, device, parallel).kv_blocks(arguments.block_tokens)
    return blocks, f"as many KV blocks as fit: {blocks:,}"


def _setup(keys: Mapping[str, Any], folder: Path) -> BatchingSetup:
    given = {key: value for key, value in keys.items() if value is not None}
    try:
        spec = SimulatedSpec.model_validate({"kind": "simulated", **given})
    except ValidationError as error:
        raise ScenarioError(first_error(error)) from None
    setup = setup_of(spec, "recorded", folder=folder)
    assert isinstance(setup, BatchingSetup)
    return setup
