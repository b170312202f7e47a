"""How many threads compute: each engine's own, and as before when all is over."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from executor.inprocess.device import Device
from executor.inprocess.threads import (
    LEAST_SHARED_BYTES,
    computing_with,
    fast_threads,
    usable_cores,
)
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.call_recorder import serve
from executor.scoring.scoring import log_probabilities
from tests.support.backends import random_model


def new_thread_computes_with() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def spied(network: Any, seen: list[int]) -> None:
    network.model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))


@pytest.mark.parametrize("wanted", [[1], [2], [1, 3], [3, 1]])
def test_each_engine_computes_with_its_own(wanted: Sequence[int]) -> None:
    models = [replace(random_model("llama", n), threads=n) for n in wanted]
    torch.set_num_threads(2)
    seen: dict[int, list[int]] = {n: [] for n in wanted}
    with Device() as device:
        engines = {m.threads: TransformersEngine(m, device) for m in models}
        for model in models:
            spied(model.network, seen[model.threads])
        for engine in [*engines.values()] * 2:
            serve(engine, [[3, 4, 5]], 3)
        assert torch.get_num_threads() == 2
    assert all(set(counts) == {threads} for threads, counts in seen.items())
    assert torch.get_num_threads() == new_thread_computes_with() == 2


def test_scoring_computes_with_the_models() -> None:
    model, seen = replace(random_model("llama", 1), threads=3), list[int]()
    torch.set_num_threads(2)
    spied(model.network, seen)
    log_probabilities(model, [3, 4, 5], [1, 2])
    assert seen == [3]
    assert torch.get_num_threads() == 2


def test_after_an_error_too() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError), computing_with(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("share", "is_shared"), [(0.9, False), (1.1, True)])
def test_several_only_for_large_models(share: float, is_shared: bool) -> None:
    numbers = int(share * LEAST_SHARED_BYTES / 4)
    network = torch.nn.Linear(numbers, 1, bias=False)
    assert fast_threads(network) == (len(usable_cores()) if is_shared else 1)


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Any:
    yield
    torch.set_num_threads(1)
