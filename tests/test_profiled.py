"""Measured engines as the simulator plays them: what an iteration costs, and when a call begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from profiles.latency.prefix_cache import PrefixCache
from profiles.latency.profile import (
    DecodePoint,
    EngineProfile,
    LatencyProfile,
    PrefillPoint,
    fit_engine,
)
from profiles.store import provenance_of_now
from simulator.core.cost import at, cost_of_profile, mixed_attention_ps
from simulator.des.batching import BatchingSetup
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.forecast import capacity_of
from simulator.profile_forecaster import ProfileForecaster
from simulator.profiled import setup_of_profile
from staircase import Pipeline, Schedule, constant, moa, uniform
from staircase.metrics.run_metrics import Slo
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.timeline import Timeline, to_ps
from staircase.workload import RequestShape, Workload

PIPELINE = moa([["a", "b"]], "z")
ENGINES = {name: EngineSpec(model="embedded") for name in "abz"}
SLOTS = {name: EngineSpec(model="embedded", slots=2) for name in "abz"}
SERVER = OpenAISpec(kind="openai", base_url="http://there/v1", model="m")


def prefill_s(new: int, cached: int) -> float:
    return 0.004 + 1e-5 * new + 1e-7 * cached


def profile(**changes: float) -> EngineProfile:
    prefill = [
        PrefillPoint(n, k, prefill_s(n, k), 0.0, 1.0) for n in (1, 16, 64, 200) for k in (0, 50)
    ]
    decode = [DecodePoint(b, 100 * b, 0.001 + 1e-4 * b, 0.0, 1.0) for b in (1, 2, 4)]
    return replace(fit_engine(prefill, decode, 0.0), **changes)  # type: ignore[arg-type]


def request(pipeline: Pipeline, written: int = 10) -> Workload:
    fixed = {
        f"{part}/{agent.name}": 20 for agent in pipeline for part in ("header", "query", "own")
    }
    labels = {f"label/{agent.name}/{source}": 2 for agent in pipeline for source in agent.reads}
    return Workload([RequestShape({**fixed, **labels}, dict.fromkeys("abz", written), "length")])


def played(
    found: EngineProfile,
    engines: Mapping[str, EngineSpec | OpenAISpec] = ENGINES,
    schedule: Schedule | None = None,
) -> Timeline:
    setups = {name: setup_of_profile(found, spec, name) for name, spec in engines.items()}
    return simulate(PIPELINE, schedule or Schedule(), setups, request(PIPELINE))[0]


@pytest.mark.parametrize("engines", [ENGINES, SLOTS])
def test_what_is_fixed_for_a_call_is_the_devices_time(engines: Mapping[str, EngineSpec]) -> None:
    """Three calls on one device; nobody else has a turn meanwhile."""
    soon, late = played(profile(), engines), played(profile(call_s=0.5), engines)
    for one, other in zip(soon.spans, late.spans, strict=True):
        assert one.output_tokens == other.output_tokens
        assert one.busy_ps <= other.busy_ps
    assert late.completed_ps - soon.completed_ps == 3 * to_ps(0.5)


@pytest.mark.parametrize("engines", [ENGINES, SLOTS])
def test_nobody_has_another_turn_for_what_is_fixed_for_a_call(
    engines: Mapping[str, EngineSpec],
) -> None:
    """However short it is: a reader's prefill is as many turns away as without it."""
    schedule = uniform(PIPELINE, constant(4, 4, 4))
    waits_ps = []
    for call_s in (0.0, 1e-6):
        line = played(profile(call_s=call_s), engines, schedule)
        first = next(span for span in line.spans if span.agent == "z")
        waits_ps.append(first.started_ps - first.submitted_ps)
    assert waits_ps[1] - waits_ps[0] <= to_ps(1e-6)


def test_a_servers_call_is_on_its_way_meanwhile() -> None:
    """Its two proposers' calls at once, then the answer's."""
    servers = dict.fromkeys("abz", SERVER)
    soon, late = played(profile(), servers), played(profile(call_s=0.5), servers)
    for span in late.spans:
        assert span.started_ps - span.submitted_ps >= to_ps(0.5)
    assert late.completed_ps - soon.completed_ps == 2 * to_ps(0.5)


@pytest.mark.parametrize("engines", [ENGINES, SLOTS])
def test_turns_take_longer_by_the_contention(engines: Mapping[str, EngineSpec]) -> None:
    """Two proposers share the device from beginning to end; the answer has it for itself."""
    alone, crowded = played(profile(), engines), played(profile(contention=1.5), engines)
    drafts = [max(s.ended_ps for s in t.spans if s.agent != "z") for t in (alone, crowded)]
    last_ps = to_ps(profile().decode_s(1, 60))
    assert drafts[1] == pytest.approx(1.5 * drafts[0], abs=last_ps)
    assert alone.completed_ps - drafts[0] == crowded.completed_ps - drafts[1]


def test_engines_with_slots_share_their_device() -> None:
    line = played(profile(), SLOTS)
    a, b = (next(s for s in line.spans if s.agent == name) for name in "ab")
    assert b.started_ps >= a.first_token_ps or a.started_ps >= b.first_token_ps  # type: ignore[operator]


def test_separate_passes_for_chunks_and_decodes() -> None:
    """Of an engine whose mixed iterations were measured."""
    found = replace(profile(), mixed_decode=1.0)
    cost = cost_of_profile(found, 256, 4)
    for chunk, before, decoding, context in ((16, 0, 1, 100), (200, 50, 3, 300), (64, 0, 0, 0)):
        work = chunk * (2 * before + chunk)
        took = at(cost.tokens_ps, chunk + decoding) + at(cost.pieces_ps, 1)
        took += mixed_attention_ps(cost, chunk, work, decoding, context)
        decode = found.decode_s(decoding, context) if decoding else 0.0
        expected = found.prefill_s(chunk, before) + decode
        assert took == pytest.approx(expected * 1e12, rel=0.01)
    two = at(cost.pieces_ps, 2) - at(cost.pieces_ps, 1)
    assert two == pytest.approx(found.prefill.coefficients[0] * 1e12, rel=1e-6)


class TestServers:
    def test_keep_what_was_found_of_their_cache(self) -> None:
        cached = replace(profile(), cache=PrefixCache(16, 16, True, 8))
        setup = setup_of_profile(cached, SERVER, "a")
        assert isinstance(setup, BatchingSetup)
        assert setup.limits.block_tokens == 16
        assert setup.limits.max_num_seqs == SERVER.max_concurrency
        assert setup.device == "server of a"

    def test_without_a_cache_they_compute_everything(self) -> None:
        setup = setup_of_profile(profile(), SERVER, "a")
        assert isinstance(setup, BatchingSetup)
        assert setup.limits.blocks is None


def test_a_batch_that_was_not_measured_is_told() -> None:
    one = profile()
    small = replace(one, decode_points=tuple(p for p in one.decode_points if p.batch == 1))
    engines = {"one": EngineSpec(model="embedded", slots=2)}
    pipeline = replace(
        PIPELINE, agents=tuple(replace(agent, engine="one") for agent in PIPELINE.agents)
    )
    for found, words in ((small, ("one: batch 2 > 1",)), (one, ())):
        latency = LatencyProfile({"one": found}, provenance_of_now())
        forecaster = ProfileForecaster(pipeline, latency, None, engines, request(pipeline))
        forecast = forecaster(Schedule())
        assert forecast.extrapolated == words
        assert forecast.quality is None


def test_engines_of_one_call_are_serial() -> None:
    assert isinstance(setup_of_profile(profile(), ENGINES["a"], "a"), SerialSetup)


def test_engines_that_are_one_model_of_one_server_share_it() -> None:
    """Whatever they sample: three engines are no three machines."""
    one = OpenAISpec(kind="openai", base_url="http://there/v1", model="m", max_concurrency=1)
    other = one.model_copy(update={"base_url": "http://elsewhere/v1"})
    seeds = {name: one.model_copy(update={"seed": number}) for number, name in enumerate("abz")}
    found = profile()
    latency = LatencyProfile(dict.fromkeys("abz", found), provenance_of_now())
    workload = request(PIPELINE, written=40)

    def forecast(engines: Mapping[str, OpenAISpec], pipeline: Pipeline = PIPELINE) -> float:
        backend = ProfileForecaster(pipeline, latency, None, engines, workload)
        return backend(Schedule()).metrics["e2e_s"].mean

    same = forecast(seeds)
    apart = forecast({**seeds, "b": other})
    agents = tuple(replace(agent, engine="a") for agent in PIPELINE)
    seats = {"a": one.model_copy(update={"max_concurrency": 3})}
    named = forecast(seats, Pipeline(agents, PIPELINE.answer))
    assert same == named
    assert same > apart


def forecaster_of(requests: int) -> ProfileForecaster:
    latency = LatencyProfile(dict.fromkeys("abz", profile()), provenance_of_now())
    given = Workload([*request(PIPELINE).requests] * requests)
    return ProfileForecaster(PIPELINE, latency, None, ENGINES, given)


def test_requests_that_are_far_apart_are_alone() -> None:
    """But for the headers that the first one leaves in the caches."""
    alone = forecaster_of(1)(Schedule()).metrics["e2e_s"].mean
    first, *others = forecaster_of(5).arriving(1e-3).play(Schedule()).measured.columns["e2e_s"]
    assert first == alone
    assert others == pytest.approx([alone] * 4, rel=0.02)
    assert max(others) < alone


def test_a_device_serves_as_many_requests_as_it_has_time_for() -> None:
    """At a higher rate the queue grows with every request, and with it the latency."""
    arriving = forecaster_of(150).arriving(1.0)
    use = arriving.play(Schedule()).use
    assert use is not None
    busy_s = sum(one.busy_s for one in use.values()) / 150
    found = capacity_of([arriving], Schedule(), Slo(e2e_s=8 * busy_s), 0.9)
    assert found.is_bound
    assert found.rate_per_s == pytest.approx(1 / busy_s, rel=0.2)
