"""What a simulation holds is free when it is over, whatever the garbage collector does."""

from __future__ import annotations

import gc
import weakref

import pytest

from simulator.core import replica
from simulator.core.blocks import Blocks, make_blocks
from simulator.des.batching import BatchingSetup
from simulator.des.simulate import simulate
from simulator.profiled import setup_of_profile
from staircase import constant, moa, uniform
from staircase.spec.engine_spec import EngineSpec
from staircase.workload import RequestShape, Workload
from tests.support.backends import fixed_profile


def test_of_its_blocks_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search plays hundreds; a million blocks of each stayed until a whole collection."""
    made: list[weakref.ref[object]] = []

    def seen(count: int) -> Blocks:
        blocks = make_blocks(count)
        made.extend(weakref.ref(column) for column in blocks)
        return blocks

    monkeypatch.setattr(replica, "make_blocks", seen)
    pipeline = moa([["p", "q"]], answer="z")
    spec = EngineSpec(model="embedded", slots=4)
    setup = setup_of_profile(fixed_profile(0.002, 0.001), spec, "e")
    assert isinstance(setup, BatchingSetup)
    request = RequestShape({}, dict.fromkeys("pqz", 20))
    gc.disable()
    try:
        engines = dict.fromkeys(pipeline.engines, setup)
        simulate(pipeline, uniform(pipeline, constant(4, 4, 4)), engines, Workload([request]))
        assert made
        assert not [one for one in made if one() is not None]
    finally:
        gc.enable()
