"""Endpoints: known cases by hand, limits, caching, spread, and an oracle token by token."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from simulator.des.endpoint import EndpointEngine, EndpointSetup
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup, Key, SimulatedCall
from simulator.event_queue import ITERATION_END, TIMER, Clock, ScheduledEvent
from simulator.setups import setup_of
from staircase import (
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    chain,
    constant,
    moa,
    single,
    uniform,
)
from staircase.errors import WorkloadError
from staircase.messages import Call
from staircase.play import CallResult
from staircase.prompt import Prompt, Segment, header, query
from staircase.spec.simulated_spec import EndpointSpec
from tests.support.endpoint_oracle import OracleEndpointSetup
from tests.support.oracle import OracleSetup
from tests.support.played_both_ways import ties
from tests.support.random_cases import random_case

MS = 10**9
SECOND = 10**12
CASES = 400
# 100 ms to the first token, 10 ms to each further one.
PLAIN = EndpointSetup(100 * MS, 10 * MS)


def with_limit(pipeline: Pipeline, max_tokens: int) -> Pipeline:
    agents = tuple(replace(agent, max_tokens=max_tokens) for agent in pipeline)
    return replace(pipeline, agents=agents)


def serve(
    setup: EndpointSetup, prompts: list[int], written: int = 4, max_tokens: int = 512
) -> list[Timeline]:
    """Requests of one call each, all at once; they end with their last token."""
    shapes = [RequestShape({query("model"): n}, {"model": written}, "length") for n in prompts]
    workload = Workload(shapes, arrivals_ps=[0] * len(shapes))
    return simulate(with_limit(single(), max_tokens), Schedule(), {"model": setup}, workload)


def starts(lines: list[Timeline]) -> list[int]:
    return [line.spans[0].started_ps for line in lines]


class TestOneCall:
    def test_tokens_come_at_even_distances(self) -> None:
        line = serve(PLAIN, [10])[0]
        assert line.answer_ps == (100 * MS, 110 * MS, 120 * MS, 130 * MS)
        span = line.spans[0]
        assert (span.started_ps, span.ended_ps, span.busy_ps) == (0, 130 * MS, 130 * MS)
        assert (span.reason, span.cached_tokens) == ("stop", 0)

    def test_a_prompt_costs_by_the_token(self) -> None:
        line = serve(replace(PLAIN, ttft_per_token_ps=3 * MS), [10], 1)[0]
        assert line.answer_ps == (130 * MS,)

    def test_a_stop_costs_one_more_itl(self) -> None:
        shape = RequestShape({query("model"): 10}, {"model": 2}, "stop")
        line = simulate(single(), Schedule(), {"model": PLAIN}, Workload([shape]))[0]
        assert line.answer_ps == (100 * MS, 110 * MS)
        assert line.completed_ps == 120 * MS

    def test_writing_nothing_takes_a_ttft(self) -> None:
        line = serve(PLAIN, [10], 0)[0]
        assert (line.answer_ps, line.completed_ps) == ((), 100 * MS)

    def test_max_tokens_end_it(self) -> None:
        span = serve(PLAIN, [10], 9, max_tokens=3)[0].spans[0]
        assert (span.output_tokens, span.reason, span.ended_ps) == (3, "length", 120 * MS)


class TestLimits:
    def test_seats_are_given_in_order(self) -> None:
        lines = serve(replace(PLAIN, concurrency=2), [10, 20, 30, 40])
        assert starts(lines) == [0, 0, 130 * MS, 130 * MS]

    def test_requests_a_minute(self) -> None:
        lines = serve(replace(PLAIN, requests_per_min=2), [10] * 5)
        assert starts(lines) == [0, 0, 30 * SECOND, 60 * SECOND, 90 * SECOND]

    def test_tokens_a_minute_count_max_tokens(self) -> None:
        lines = serve(replace(PLAIN, tokens_per_min=60), [10] * 3, max_tokens=20)
        assert starts(lines) == [0, 0, 30 * SECOND]

    def test_the_first_in_line_holds_up_the_others(self) -> None:
        """The third would fit at once, were it not for the second."""
        lines = serve(replace(PLAIN, tokens_per_min=60), [49, 39, 9], max_tokens=1)
        assert starts(lines) == [0, 30 * SECOND, 40 * SECOND]

    def test_a_bucket_holds_no_more_than_a_minutes_worth(self) -> None:
        shape = RequestShape({query("model"): 10}, {"model": 1}, "length")
        workload = Workload([shape] * 4, arrivals_ps=[0, *[300 * SECOND] * 3])
        setup = replace(PLAIN, requests_per_min=2)
        lines = simulate(single(), Schedule(), {"model": setup}, workload)
        assert starts(lines) == [0, 300 * SECOND, 300 * SECOND, 330 * SECOND]

    def test_times_are_exact_where_the_rate_does_not_divide_a_minute(self) -> None:
        lines = serve(replace(PLAIN, requests_per_min=7), [10] * 8)
        assert starts(lines)[-1] == -(-60 * SECOND // 7)

    def test_a_call_that_never_fits_is_told(self) -> None:
        words = r"'model' to engine 'model' counts 61 tokens .* tokens_per_min of 60"
        with pytest.raises(WorkloadError, match=words):
            serve(replace(PLAIN, tokens_per_min=60), [51], max_tokens=10)


@dataclass
class Recorder:
    """Listens to calls of one engine."""

    ended: dict[Key, CallResult] = field(default_factory=dict)
    watched: list[tuple[Key, int]] = field(default_factory=list)

    def on_token(self, key: Key, now_ps: int) -> None:
        raise AssertionError("tokens are not reported one by one")

    def on_watched(self, key: Key, now_ps: int) -> None:
        self.watched.append((key, now_ps))

    def on_revised(self, key: Key, standing: int, tokens: int, now_ps: int) -> None:
        raise AssertionError("only inputs are revised")

    def on_end(self, key: Key, result: CallResult) -> None:
        self.ended[key] = result


class Stage:
    """An endpoint with calls 0, 1, 2 … that came at once, and errands at given times."""

    def __init__(self, setup: EndpointSetup, calls: int = 1, tokens: int = 4) -> None:
        self.clock = Clock()
        self.engine: EndpointEngine = setup.open(self.clock, {})
        self.heard = Recorder()
        for number in range(calls):
            prompt = Prompt((Segment(query("a"), 0, 10),))
            call = Call(number, "a", "e", 0, (), 0, prompt, tokens, True)
            self.engine.submit(SimulatedCall(0, call, tokens, False), self.heard)

    def cancel(self, number: int, after_ps: int, priority: int = TIMER) -> None:
        ScheduledEvent(self.clock, after_ps, priority, lambda: self.engine.cancel((0, number)))

    def run(self) -> dict[Key, CallResult]:
        self.clock.run()
        return self.heard.ended


class TestCancel:
    def test_what_was_written_stays(self) -> None:
        stage = Stage(PLAIN)
        stage.cancel(0, 115 * MS)
        result = stage.run()[0, 0]
        assert (result.reason, result.ended_ps, result.busy_ps) == ("cancelled", 115 * MS, 115 * MS)
        assert list(result.token_ps or ()) == [100 * MS, 110 * MS]

    @pytest.mark.parametrize(("priority", "tokens"), [(TIMER, 1), (ITERATION_END + 1, 2)])
    def test_at_the_time_of_a_token_turns_decide(self, priority: int, tokens: int) -> None:
        stage = Stage(PLAIN)
        stage.cancel(0, 110 * MS, priority)
        assert len(stage.run()[0, 0].token_ps or ()) == tokens

    def test_before_the_first_token(self) -> None:
        stage = Stage(PLAIN)
        stage.cancel(0, 99 * MS)
        assert not stage.run()[0, 0].token_ps

    def test_one_that_waits_writes_nothing_and_leaves_the_line(self) -> None:
        stage = Stage(replace(PLAIN, concurrency=1), calls=3)
        stage.cancel(1, 50 * MS)
        ended = stage.run()
        assert ended[0, 1] == CallResult("cancelled", 50 * MS, 50 * MS, 0, 0, token_ps=())
        assert ended[0, 2].started_ps == ended[0, 0].ended_ps == 130 * MS

    def test_one_that_waits_for_a_bucket_takes_nothing_from_it(self) -> None:
        stage = Stage(replace(PLAIN, requests_per_min=1), calls=3)
        stage.cancel(1, 50 * MS)
        assert stage.run()[0, 2].started_ps == 60 * SECOND

    def test_its_seat_is_free_at_once(self) -> None:
        stage = Stage(replace(PLAIN, concurrency=1), calls=2)
        stage.cancel(0, 115 * MS)
        assert stage.run()[0, 1].started_ps == 115 * MS

    def test_one_that_just_ended_is_left_alone(self) -> None:
        stage = Stage(PLAIN)
        stage.cancel(0, 130 * MS, ITERATION_END + 1)
        assert stage.run()[0, 0].reason == "length"


class TestWatch:
    def test_says_so_when_the_count_is_there(self) -> None:
        stage = Stage(PLAIN)
        stage.engine.watch((0, 0), 3)
        stage.run()
        assert stage.heard.watched == [((0, 0), 120 * MS)]

    def test_says_so_at_once_if_it_is_there(self) -> None:
        stage = Stage(PLAIN)
        ScheduledEvent(stage.clock, 115 * MS, TIMER, lambda: stage.engine.watch((0, 0), 1))
        stage.run()
        assert stage.heard.watched == [((0, 0), 115 * MS)]

    def test_tokens_between_cost_nothing(self) -> None:
        stage = Stage(PLAIN, tokens=10**6)
        stage.engine.watch((0, 0), 500_000)
        steps = 0
        while stage.clock.peek() != float("inf"):
            stage.clock.step()
            steps += 1
        assert len(stage.heard.ended[0, 0].token_ps or ()) == 10**6
        assert steps < 6


class TestPrefixCache:
    CACHING = replace(
        PLAIN, prefix_caching=True, block_tokens=8, min_cached_tokens=8, ttft_per_token_ps=MS
    )

    def cached(self, setup: EndpointSetup, tokens: int, workers: int = 1) -> list[int]:
        """Of three requests with the same header."""
        shape = RequestShape({header("model"): tokens, query("model"): 4}, {"model": 2}, "length")
        work = Workload([shape] * 3, workers)
        lines = simulate(single(), Schedule(), {"model": setup}, work)
        return [line.spans[0].cached_tokens for line in lines]

    def test_headers_of_earlier_requests_in_whole_blocks(self) -> None:
        assert self.cached(self.CACHING, 35) == [0, 32, 32]

    def test_only_of_calls_that_ended(self) -> None:
        assert self.cached(self.CACHING, 35, workers=2) == [0, 0, 32]

    def test_not_under_the_minimum(self) -> None:
        assert self.cached(replace(self.CACHING, min_cached_tokens=33), 35) == [0, 0, 0]

    def test_not_unless_asked_for(self) -> None:
        assert self.cached(replace(self.CACHING, prefix_caching=False), 35) == [0, 0, 0]

    def test_the_default_is_openais(self) -> None:
        setup = replace(PLAIN, prefix_caching=True)
        assert self.cached(setup, 1023) == [0, 0, 0]
        assert self.cached(setup, 1160) == [0, 1152, 1152]

    def test_never_the_last_token(self) -> None:
        shape = RequestShape({header("model"): 16}, {"model": 2}, "length")
        engines = {"model": self.CACHING}
        lines = simulate(single(), Schedule(), engines, Workload([shape] * 2))
        assert [line.spans[0].cached_tokens for line in lines] == [0, 8]

    @pytest.mark.parametrize(("block", "cached"), [(1, 16), (5, 15), (8, 16), (9, 9)])
    def test_what_a_step_sent_and_wrote(self, block: int, cached: int) -> None:
        """Query 10, 4 tokens of a, 3 own ones of which the last has not been put through."""
        pipeline = chain(["a", "z"])
        schedule = uniform(pipeline, constant(4, 4, 3), "interleave")
        shape = RequestShape({query("z"): 10}, {"a": 8, "z": 9}, "length")
        setup = replace(self.CACHING, block_tokens=block)
        engines = {"a": PLAIN, "z": setup}
        line = simulate(pipeline, schedule, engines, Workload([shape]))[0]
        first, second = [span for span in line.spans if span.agent == "z"][:2]
        assert (first.prompt_tokens, second.prompt_tokens) == (14, 21)
        assert (first.cached_tokens, second.cached_tokens) == (0, cached)

    def test_cached_tokens_have_their_own_price(self) -> None:
        setup = replace(self.CACHING, ttft_per_cached_token_ps=MS // 4)
        shape = RequestShape({header("model"): 32, query("model"): 4}, {"model": 1}, "length")
        lines = simulate(single(), Schedule(), {"model": setup}, Workload([shape] * 2))
        ttft_ps = [line.answer_ps[0] - line.arrival_ps for line in lines]
        assert ttft_ps == [(100 + 36) * MS, (100 + 4 + 8) * MS]


class TestSpread:
    NOISY = replace(PLAIN, spread=0.5, itl_spread=0.3, seed=11)

    def test_means_stay_what_they_were(self) -> None:
        lines = serve(self.NOISY, [10] * 4000, 2)
        ttft_ps = np.array([line.answer_ps[0] for line in lines])
        itl_ps = np.array([line.answer_ps[1] - line.answer_ps[0] for line in lines])
        assert ttft_ps.mean() == pytest.approx(100 * MS, rel=0.03)
        assert itl_ps.mean() == pytest.approx(10 * MS, rel=0.02)
        assert np.log(ttft_ps).std() == pytest.approx(0.5, rel=0.05)
        assert np.log(itl_ps).std() == pytest.approx(0.3, rel=0.05)
        assert abs(np.corrcoef(ttft_ps, itl_ps)[0, 1]) < 0.05

    def test_one_factor_for_all_tokens_of_a_call(self) -> None:
        line = serve(self.NOISY, [10], 50)[0]
        assert len(set(np.diff(line.answer_ps))) == 1

    def test_order_does_not_matter(self) -> None:
        def ttfts(setup: EndpointSetup) -> list[int]:
            return [line.answer_ps[0] - line.spans[0].started_ps for line in serve(setup, [9] * 20)]

        assert ttfts(self.NOISY) == ttfts(replace(self.NOISY, concurrency=1))
        assert ttfts(self.NOISY) != ttfts(replace(self.NOISY, seed=12))
        assert len(set(ttfts(self.NOISY))) == 20

    def test_schedules_see_the_same_noise(self) -> None:
        """Calls with the same agent and step take as long, whatever their number is."""
        pipeline = moa([["a", "b"], ["c", "d"]], "z")
        shape = RequestShape({query(n): 9 for n in "abcdz"}, dict.fromkeys("abcdz", 30), "length")
        engines = dict.fromkeys("abcdz", self.NOISY)

        def first_steps(schedule: Schedule) -> dict[str, int]:
            line = simulate(pipeline, schedule, engines, Workload([shape]))[0]
            spans = [span for span in line.spans if span.step == 0]
            return {s.agent: (s.first_token_ps or 0) - s.started_ps for s in spans}

        assert first_steps(Schedule()) == first_steps(uniform(pipeline, constant(4, 4, 2)))


def test_scenario_files_say_it_in_seconds() -> None:
    least = EndpointSpec(kind="endpoint", ttft_s=0.1, itl_s=0.01)
    assert setup_of(least) == PLAIN
    spec = EndpointSpec(
        kind="endpoint",
        ttft_s=0.4,
        itl_s=0.02,
        ttft_per_token_s=3e-5,
        ttft_per_cached_token_s=2e-6,
        spread=0.5,
        itl_spread=0.25,
        seed=3,
        concurrency=4,
        requests_per_min=5,
        tokens_per_min=6,
        prefix_caching=True,
        block_tokens=7,
        min_cached_tokens=8,
    )
    prices_ps = (400 * MS, 20 * MS, 30 * MS // 1000, 2 * MS // 1000)
    assert setup_of(spec) == EndpointSetup(*prices_ps, 0.5, 0.25, 3, 4, 5, 6, True, 7, 8)


def random_setup(seed: int, usual: EngineSetup) -> EngineSetup:
    """An endpoint with few and small numbers; now and then the ``usual`` replicas."""
    rng = random.Random(seed)
    if rng.random() < 0.2:
        return usual
    unit = rng.choice([1, 10, SECOND, 5 * SECOND])
    return EndpointSetup(
        unit * rng.randint(1, 5),
        unit * rng.randint(1, 3),
        rng.choice([0, 0, unit]),
        rng.choice([0, unit]),
        rng.choice([0.0, 0.0, 0.7]),
        rng.choice([None, 0.2]),
        seed,
        rng.choice([None, 1, 2, 3]),
        rng.choice([None, None, 2, 7, 30]),
        rng.choice([None, None, 250, 700]),
        rng.random() < 0.8,
        rng.choice([1, 2, 4, 7]),
        rng.choice([1, 5, 16]),
    )


def slow(setup: EngineSetup, seen: Counter[str]) -> EngineSetup:
    if isinstance(setup, EndpointSetup):
        return OracleEndpointSetup(setup, seen)
    return OracleSetup(setup, Counter())  # type: ignore[arg-type]


def understood(workload: Workload, setups: Iterable[EngineSetup]) -> Workload:
    """The workload without texts in common, which an endpoint's prefix cache refuses."""
    if not any(isinstance(setup, EndpointSetup) and setup.prefix_caching for setup in setups):
        return workload
    requests = [replace(request, parts={}) for request in workload.requests]
    return replace(workload, requests=requests)


def check(seed: int, seen: Counter[str]) -> None:
    """Plays a case both ways, closed form and token by token."""
    case = random_case(seed)
    setups = {
        name: random_setup(1000 * seed + number, setup)
        for number, (name, setup) in enumerate(case.setups.items())
    }
    workload = understood(case.workload, setups.values())
    try:
        played = simulate(case.pipeline, case.schedule, setups, workload)
    except WorkloadError:
        seen["never fits"] += 1
        return
    oracles = {name: slow(setup, seen) for name, setup in setups.items()}
    assert played == simulate(case.pipeline, case.schedule, oracles, workload), f"seed {seed}"
    seen["ties"] += ties(played)


@pytest.mark.slow
def test_random_cases() -> None:
    """400 cases with waiting, cancelling, cache hits and exact ties, beside batching replicas."""
    seen: Counter[str] = Counter()
    for seed in range(CASES):
        check(seed, seen)
    wanted = ("waits for a seat", "waits for a bucket", "cancelled", "cached tokens", "ties")
    assert min(seen[what] for what in wanted) > 100
    assert seen["never fits"] < CASES / 4
