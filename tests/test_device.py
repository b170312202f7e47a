"""Simulated engines that take turns on a device: single known cases, and who may play them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.analytic.request_form import closed_form
from simulator.compiled.play import play_compiled
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate, simulate_all
from simulator.engine import EngineSetup
from simulator.run import run_workload
from simulator.setups import setup_of
from staircase import RequestShape, Schedule, Workload, constant, moa, single
from staircase.errors import ScheduleError
from staircase.prompt import query
from staircase.spec.simulated_spec import SimulatedSpec
from tests.support.backends import fixed_profile
from tests.support.random_cases import sharing_case
from tests.test_batching import MS, plain_cost

PIPELINE = moa([["a", "b"]], "z")
SHAPE = RequestShape({query(name): 8 for name in "abz"}, {"a": 10, "b": 20, "z": 5}, "length")
WORKLOAD = Workload([SHAPE])
SHARING = BatchingSetup(plain_cost(), Limits(64, 8), device="gpu")
ENGINES = dict.fromkeys("abz", SHARING)


def test_engines_have_one_iteration_each_in_turn() -> None:
    played = simulate_all(PIPELINE, Schedule(), ENGINES, WORKLOAD)
    line = played.timelines[0]
    ends = {span.agent: span.ended_ps for span in line.spans}
    # b, the next after the first, prefills until 9 ms and a until 18; then 1 ms each.
    assert ends["a"] == (18 + 2 * 9) * MS
    assert ends["b"] == (18 + 9 + 19) * MS
    assert line.answer_ps[0] == ends["b"] + (1 + 8 + 30) * MS
    # The device has not idled once, and served one iteration at a time (I9).
    assert sum(sum(busy) for busy in played.busy_ps.values()) == line.answer_ps[-1]


def test_a_run_of_iterations_ends_when_somebody_else_has_work() -> None:
    shape = RequestShape({query("model"): 1}, {"model": 50}, "length")
    workload = Workload([shape, shape], arrivals_ps=[0, 10 * MS + MS // 2])
    setup = replace(SHARING, replicas=2)
    one, two = simulate(single(), Schedule(), {"model": setup}, workload)
    # The second replica has the first turn from 0 on; the iteration under way ends at 11 ms.
    assert two.spans[0].started_ps == 11 * MS
    assert two.answer_ps[:3] == (13 * MS, 15 * MS, 17 * MS)
    assert one.answer_ps[8:12] == (10 * MS, 11 * MS, 14 * MS, 16 * MS)
    assert two.answer_ps[-1] == (2 + 49 + 2 + 49) * MS


def test_engines_on_other_devices_do_not_wait() -> None:
    apart = ENGINES | {"b": replace(SHARING, device="other")}
    assert simulate(PIPELINE, Schedule(), apart, WORKLOAD) == simulate(
        PIPELINE, Schedule(), dict.fromkeys("abz", replace(SHARING, device=None)), WORKLOAD
    )


@pytest.mark.parametrize("setup", [SHARING, SerialSetup(fixed_profile(), "gpu")])
def test_who_is_cancelled_before_its_turn_does_not_get_it(setup: EngineSetup) -> None:
    pipeline = moa([["a"]], "z")
    shape = RequestShape({query(name): 8 for name in "az"}, {"a": 40, "z": 3}, "length")
    schedule = Schedule({"z": constant(2, 8, 4)})
    line = simulate(pipeline, schedule, dict.fromkeys("az", setup), Workload([shape]))[0]
    source, answer = line.spans
    assert (source.agent, source.reason) == ("a", "cancelled")
    assert source.ended_ps == answer.ended_ps


def test_serial_engines_and_replicas_share_a_device() -> None:
    engines = ENGINES | {"a": SerialSetup(fixed_profile(0.009, 0.001), "gpu")}
    mixed = simulate(PIPELINE, Schedule(), engines, WORKLOAD)
    assert mixed[0].answer_ps == simulate(PIPELINE, Schedule(), ENGINES, WORKLOAD)[0].answer_ps


def test_engines_of_a_device_add_up_to_its_use() -> None:
    run = run_workload(PIPELINE, Schedule(), ENGINES, WORKLOAD)
    assert sum(use.utilisation for use in run.use.values()) == pytest.approx(1)
    engines = {"model": replace(SHARING, replicas=2)}
    shape = RequestShape({query("model"): 1}, {"model": 50}, "length")
    alone = run_workload(single(), Schedule(), engines, Workload([shape] * 2, 2))
    assert alone.use["model"].utilisation == pytest.approx(1)


def test_a_device_has_one_iteration_at_a_time() -> None:
    for seed in range(30):
        case = sharing_case(seed)
        played = simulate_all(case.pipeline, case.schedule, case.setups, case.workload)
        last_ps = max(span.ended_ps for line in played.timelines for span in line.spans)
        for device in ("one", "two"):
            sharing = [name for name, setup in case.setups.items() if setup.device == device]
            assert sum(sum(played.busy_ps[name]) for name in sharing) <= last_ps


def test_faster_ways_leave_shared_devices_to_simpy() -> None:
    assert play_compiled(PIPELINE, Schedule(), ENGINES, WORKLOAD) is None
    with pytest.raises(ScheduleError, match="engine 'a' shares device 'gpu'"):
        closed_form(PIPELINE, Schedule(), ENGINES, SHAPE)


def test_scenarios_name_devices() -> None:
    spec = SimulatedSpec(
        kind="simulated", decode_tokens_per_s=50, prefill_tokens_per_s=500, device="gpu"
    )
    setup = setup_of(spec)
    assert isinstance(setup, BatchingSetup)
    assert setup.device == "gpu"
