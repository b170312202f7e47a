"""A thousand requests leave nothing behind: no memory, file, thread, task, connection or slot."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.transformers_engine import TransformersEngine
from executor.openai.engine import OpenAIEngine
from executor.openai.server import Address, Network
from executor.openai.server_profile import ServerProfile
from executor.openai.vocabularies import TextPieces
from executor.runtime import Job, Outcome, Runtime, ServedModel
from staircase import Pipeline, constant, moa, uniform
from tests.support.backends import FORM, QUESTION, random_model, server_settings
from tests.support.fake_server import FakeServer, Fault, Manners
from tests.test_openai_engine import FAULTS, tasks, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]

REQUESTS, WARM_UP, GROUP = 1000, 200, 50
# Less than a KB a request: what is kept of each would be more.
GROWTH_KB = 512
# Peaks depend on which calls happen to meet.
PEAK_GROWTH_KB = 2048
SLOTS = 4


def short(pipeline: Pipeline, tokens: int) -> Pipeline:
    agents = tuple(replace(agent, max_tokens=tokens) for agent in pipeline)
    return replace(pipeline, agents=agents)


PIPELINE = short(moa([["a", "b"]], "z"), 4)
# A call of each proposer and two of the answer.
CALLS = 4
SCHEDULE = replace(uniform(PIPELINE, constant(2, 2, 2)), retries=2)
JOB = Job(PIPELINE, SCHEDULE, QUESTION)


@dataclass(frozen=True)
class Footprint:
    files: int
    threads: int


def footprint() -> Footprint:
    return Footprint(len(list(Path("/proc/self/fd").iterdir())), threading.active_count())


def resident_kb() -> int:
    """Of what the process needs: what only the allocator keeps is given back before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return status_kb("VmRSS")


def peak_kb() -> int:
    """Since it was last asked."""
    peak = status_kb("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def check_memory(play_group: Callable[[int], None]) -> None:
    """Plays a thousand requests, ``GROUP`` at a time, and compares those after the first 200."""
    sizes, peaks = [], []
    for first in range(0, REQUESTS, GROUP):
        play_group(first)
        peaks.append(peak_kb())
        sizes.append(resident_kb())
    warm, middle = WARM_UP // GROUP, (WARM_UP + REQUESTS) // 2 // GROUP
    growth_kb = sizes[-1] - sizes[warm - 1]
    print(f"request {WARM_UP} to {REQUESTS}: {growth_kb:+} KB resident")
    assert growth_kb < GROWTH_KB
    assert max(peaks[middle:]) - max(peaks[warm:middle]) < PEAK_GROWTH_KB


def play(runtime: Runtime) -> None:
    outcomes = runtime.run([JOB] * GROUP, concurrency=4)
    assert all(is_whole(outcome) for outcome in outcomes)


def is_whole(outcome: Outcome) -> bool:
    return outcome.timeline.error is None and outcome.timeline.written["z"] == 4


@contextmanager
def nothing_left() -> Iterator[None]:
    before = footprint()
    yield
    wait_until(lambda: footprint() == before)


NOTHING = Fault("stops")
KINDS = [*FAULTS.values(), NOTHING]
# A read timeout has to be waited for; a working server must never be so slow.
TIMEOUT_S = 1.0


def faults(first: int) -> dict[tuple[str, int], Fault]:
    """One for every ten requests, each of another kind, agent and point than the one before."""
    found = {}
    for number in range(first // 10, (first + GROUP) // 10):
        fault = KINDS[number % len(KINDS)]
        if fault is not NOTHING:
            fault = replace(fault, after=number // 2 % 2, is_cut=number % 4 > 1)
        # An answer of nothing would be one; only proposers may write none.
        agent = "ab"[number % 2] if fault is NOTHING else "abz"[number % 3]
        found[agent, 10 * number - first + number % 7] = fault
    return found


def server() -> None:
    def play_group(first: int) -> None:
        fake.begin(faults(first))
        play(runtime)
        # Every fault was met, and cost one more request; that a proposer writes nothing is none.
        lost = sum(fault is not NOTHING for fault in fake.faults.values())
        assert len(fake.bodies) == CALLS * GROUP + lost

    with nothing_left(), FakeServer(Manners(token_s=0.0001)) as fake:
        with Network() as network:
            runtime = Runtime(remote_engines(network, fake))
            check_memory(play_group)
            wait_until(lambda: network.run(tasks()) == 1 and fake.active == 0)
        wait_until(lambda: fake.open == 0)


def remote_engines(network: Network, fake: FakeServer) -> Mapping[str, ServedModel]:
    server = network.server(Address(fake.url, None, TIMEOUT_S, 10.0))
    profile = ServerProfile("completions", frozenset({"stream_options"}))
    return {
        name: ServedModel(
            OpenAIEngine(network, server, profile, server_settings(name), TextPieces(name)), FORM
        )
        for name in PIPELINE.engines
    }


def serial_engines() -> None:
    model = random_model("llama", seed=1)
    with nothing_left(), Device() as device:
        served = {
            name: ServedModel(TransformersEngine(model, device), FORM) for name in PIPELINE.engines
        }
        runtime = Runtime(served)
        check_memory(lambda first: play(runtime))


def batching_engine() -> None:
    model = random_model("llama", seed=1)
    with nothing_left(), Device() as device:
        engine = BatchingEngine(model, device, SLOTS)
        served = dict.fromkeys(PIPELINE.engines, ServedModel(engine, FORM))
        runtime = Runtime(served)
        check_memory(lambda first: play(runtime))
        wait_until(lambda: engine.is_idle)


@pytest.mark.parametrize("play_all", [server, serial_engines, batching_engine])
def test_nothing_is_left(play_all: Callable[[], None]) -> None:
    """In a process of its own: what other tests left behind comes and goes as it likes."""
    process = get_context("spawn").Process(target=_with_one_thread, args=(play_all,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _with_one_thread(play_all: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    play_all()
