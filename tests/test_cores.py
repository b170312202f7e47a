"""Devices ``cpu:0``, ``cpu:1``: a process each, on cores of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from executor.cores.core_assignment import dealt_cores
from executor.cores.core_process import CoreEngine, CoreProcess
from executor.cores.core_worker import Order
from executor.inprocess.threads import usable_cores
from executor.measure.call_recorder import PATIENCE_S, begin, serve
from executor.measure.contention import kept_busy
from executor.measure.measurements import Target
from executor.opened_engines import OpenedEngines, open_engines
from executor.runtime import Job, Outcome
from planner.profiling.latency_profiling import keys_of
from simulator.profiled import setup_of_profile
from staircase import Question, constant, uniform
from staircase.errors import ModelError, ScenarioError
from staircase.spec.engine_spec import EngineSpec
from staircase.spec.scenario import Scenario
from tests.support.backends import fixed_profile

LINUX = Path("/proc/self/status").exists()
needs_two_cores = pytest.mark.skipif(
    len(usable_cores()) < 2 or not LINUX, reason="needs two cores, and Linux's /proc"
)
PLACES = {"a": "cpu:0", "b": "cpu:1", "z": "cpu:1"}


def scenario(places: Mapping[str, str], **keys: object) -> Scenario:
    """The agents a and b, read by z; b's engine has two slots."""
    engines = {
        name: {"model": "embedded", "device": place, "slots": 1 + (name == "b")} | keys
        for name, place in places.items()
    }
    agents = {name: {"max_tokens": 9} for name in "abz"}
    pipeline = {"moa": {"layers": [["a", "b"]], "answer": "z"}, "agents": agents}
    return Scenario.model_validate({"name": "cores", "pipeline": pipeline, "engines": engines})


def specs(places: Sequence[str], threads: Sequence[int | None]) -> dict[str, EngineSpec]:
    both = zip(places, threads, strict=True)
    return {
        f"{number}": EngineSpec(model="embedded", device=place, threads=count)
        for number, (place, count) in enumerate(both)
    }


@pytest.mark.parametrize(
    ("places", "threads", "dealt"),
    [
        (["cpu"], [2], {}),
        (["cuda:1", "cpu:1"], [None, None], {1: [3]}),
        (["cpu:1", "cpu:0", "cpu:1"], [None, None, None], {0: [3], 1: [5]}),
        (["cpu:7", "cpu:2"], [None, None], {2: [3], 7: [5]}),
        (["cpu:0", "cpu:0", "cpu:1"], [1, 2, None], {0: [3, 5], 1: [6]}),
    ],
)
def test_cores_are_dealt_in_order(
    places: list[str], threads: list[int | None], dealt: dict[int, list[int]]
) -> None:
    assert dealt_cores(specs(places, threads), [3, 5, 6]) == dealt


@pytest.mark.parametrize("threads", [[None, None, None, None], [3, None, None, None]])
def test_too_few_cores_are_told(threads: list[int | None]) -> None:
    places = [f"cpu:{number}" for number in range(4)]
    with pytest.raises(ScenarioError, match=r"cpu:0, cpu:1, cpu:2, cpu:3 need \d cores.* are 3"):
        dealt_cores(specs(places, threads), [0, 1, 2])


@pytest.mark.parametrize(
    ("places", "keys", "said"),
    [
        ({"a": "cpu", "b": "cpu:1", "z": "cpu"}, {}, r"engines\.b\.device: 'cpu:1' has cores"),
        ({"a": "cuda", "b": "cuda", "z": "cuda"}, {"threads": 2}, "threads are those of a CPU"),
        ({"a": "cpu", "b": "cpu", "z": "cpu"}, {"threads": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_told(places: dict[str, str], keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        scenario(places, **keys)


def test_a_profile_knows_who_was_busy_beside() -> None:
    apart, together = keys_of(scenario(PLACES)), keys_of(scenario(dict.fromkeys("abz", "cpu:0")))
    assert apart["a"] != together["a"]


def play(opened: OpenedEngines, spec: Scenario, schedules: int = 2) -> list[Outcome]:
    pipeline = spec.pipeline.build()
    steps = [constant(3, 3, 3), constant(9, 9, 9)][:schedules]
    return opened.runtime.run(
        [Job(pipeline, uniform(pipeline, one), Question("why")) for one in steps]
    )


@pytest.fixture(scope="module")
def opened() -> Iterator[OpenedEngines]:
    with open_engines(scenario(PLACES)) as opened:
        yield opened
    # Nothing is left of it.
    assert not processes()


def processes() -> list[int]:
    """Children of this process that still are."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in listed.split()}
    return [pid for pid, line in lines.items() if "core_worker" in line]


@needs_two_cores
def test_an_error_of_a_process_keeps_its_kind() -> None:
    """Exit codes depend on it: 2 where the user's model is wrong."""
    order = Order({"a": EngineSpec(model="./none", device="cpu:0")}, [])
    with (
        CoreProcess("cpu:0", order) as process,
        pytest.raises(ModelError, match=r"^device 'cpu:0': model './none': no such folder"),
    ):
        process.open()


@pytest.mark.slow
@needs_two_cores
def test_a_number_may_be_written_in_any_way() -> None:
    whole = scenario({"a": "cpu:00", "b": "cpu:01", "z": "cpu:1"})
    with open_engines(whole) as other:
        assert len(processes()) == 2
        assert serve(other.engines["b"], [[5] * 20], 3).tokens


@pytest.mark.parametrize(
    ("device", "place"),
    [("cpu", "cpu"), ("cpu:01", "cpu:1"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("x", "x:0")],
)
def test_a_device_has_one_name(device: str, place: str) -> None:
    """By which engines share it, here and in forecasts."""
    spec = EngineSpec(model="m", device=device)
    assert spec.place == place
    assert setup_of_profile(fixed_profile(), spec, "m").device == place


@needs_two_cores
class TestProcesses:
    def test_the_texts_are_those_of_one_process(self, opened: OpenedEngines) -> None:
        whole = scenario(dict.fromkeys("abz", "cpu"))
        with open_engines(whole) as other:
            expected = [outcome.ids for outcome in play(other, whole)]
        found = play(opened, scenario(PLACES))
        assert [outcome.ids for outcome in found] == expected
        assert all(outcome.timeline.error is None for outcome in found)

    def test_times_are_of_our_clock(self, opened: OpenedEngines) -> None:
        """What a process stamps lies between what happens here before and after."""
        prompt = [5] * 20
        before = time.perf_counter_ns()
        recorder = serve(opened.engines["a"], [prompt], 5)
        after = time.perf_counter_ns()
        report = recorder.reports[0]
        stamps = [before, report.started_ns, *recorder.times_ns[0], report.ended_ns, after]
        assert stamps == sorted(stamps)

    def test_each_has_a_core_of_its_own(self, opened: OpenedEngines) -> None:
        cores = [os.sched_getaffinity(pid) for pid in processes()]
        assert cores == [{core} for core in usable_cores()[:2]]

    def test_engines_are_heard_in_a_thread_for_each_device(self, opened: OpenedEngines) -> None:
        recorder: dict[str, set[int]] = {name: set() for name in "abz"}
        spec = scenario(PLACES)
        pipeline = spec.pipeline.build()
        job = Job(pipeline, uniform(pipeline, constant(3, 3, 3)), Question("why"))
        (outcome,) = opened.runtime.run(
            [job], on_token=lambda _, agent, ids: recorder[agent].add(threading.get_ident())
        )
        assert outcome.timeline.written == dict.fromkeys("abz", 9)
        assert all(len(threads) == 1 for threads in recorder.values())
        assert recorder["b"] == recorder["z"] != recorder["a"]
        assert threading.get_ident() not in recorder["a"] | recorder["z"]

    def test_a_call_can_be_cancelled(self, opened: OpenedEngines) -> None:
        engine, writes = opened.engines["a"], threading.Event()
        recorder = begin(engine, [[5] * 20], 10**6, writes.set)
        written = writes.wait(PATIENCE_S)
        engine.cancel((id(recorder), 0))
        recorder.wait()
        assert written
        assert recorder.reports[0].reason == "cancelled"
        assert recorder.reports[0].error is None

    def test_others_work_while_one_is_measured(self, opened: OpenedEngines) -> None:
        other = Target(opened.engines["b"], lambda tokens: [5] * tokens, 64)
        with kept_busy([other]):
            serve(opened.engines["a"], [[5] * 20], 5)
        assert serve(opened.engines["b"], [[5] * 20], 5).tokens

    def test_a_process_that_dies_ends_its_calls(self, opened: OpenedEngines) -> None:
        """The last test here: those that are open end, and every one that comes later."""
        engine = opened.engines["a"]
        assert isinstance(engine, CoreEngine)
        victim = processes()[0]
        recorder = begin(engine, [[5] * 20], 10**6, lambda: os.kill(victim, signal.SIGKILL))
        for one in (recorder, begin(engine, [[5] * 20], 5)):
            with pytest.raises(RuntimeError, match=r"device 'cpu:0': its process was ended by sig"):
                one.wait()
        outcome = play(opened, scenario(PLACES), 1)[0]
        assert outcome.timeline.written == {"a": 0, "b": 9, "z": 9}
