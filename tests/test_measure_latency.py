"""Measuring, on engines whose clock is virtual, so that no test depends on this machine."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.contention import measure_contention
from executor.measure.find_cache import REPEATS, TimedHits, find_cache
from executor.measure.grid_points import Decode, GridPoint, Mixed, Prefill, Region
from executor.measure.latency_samples import Samples, expected_s
from executor.measure.measure_latency import LEAST_S, LEAST_VISITS, MeasuringEffort, measure_latency
from executor.measure.measurements import Sample, Target
from profiles.latency.fit import FOLDS
from profiles.latency.prefix_cache import PrefixCache
from profiles.latency.profile import LEAST_DECODE_POINTS, EngineProfile
from tests.support.backends import VOCABULARY, random_model
from tests.support.virtual_engine import Nature, VirtualClock, VirtualEngine

LONGEST = 400
PATIENT = MeasuringEffort(1e6)


def prefill_s(new: int, cached: int) -> float:
    return 0.002 + 3e-5 * new + 2e-8 * new * (cached + (new + 1) / 2) + 1e-6 * cached


def decode_s(batch: int, context: int) -> float:
    return 0.001 + 5e-5 * batch + 1e-7 * context


PLAIN = Nature(prefill_s, decode_s, call_s=3e-4)


@contextmanager
def target_of(nature: Nature, clock: VirtualClock | None = None, seed: int = 0) -> Iterator[Target]:
    with Device() as device:
        yield target_on(device, nature, clock or VirtualClock(), seed)


def target_on(device: Device, nature: Nature, clock: VirtualClock, seed: int = 0) -> Target:
    rng = random.Random(seed)
    return Target(
        VirtualEngine(device, clock, nature),
        lambda tokens: [rng.randrange(50, 10**6) for _ in range(tokens)],
        LONGEST,
        nature.slots,
        LONGEST if nature.slots > 1 else 0,
        reports_cached=nature.reports_cached,
        now_ns=clock.now_ns,
    )


def measured(
    nature: Nature,
    effort: MeasuringEffort = PATIENT,
    known: list[Sample] | None = None,
    seed: int = 0,
) -> tuple[EngineProfile, list[Sample]]:
    taken: list[Sample] = []
    with target_of(nature, seed=seed) as target:
        profile = measure_latency(target, effort, known or (), taken.append)
    return profile, taken


def visits(samples: list[Sample]) -> dict[GridPoint, int]:
    places = [sample.place for sample in samples]
    return {place: places.count(place) for place in places}


class TestWhatIsFound:
    @pytest.mark.parametrize("slots", [1, 4])
    def test_what_the_engine_was_made_of(self, slots: int) -> None:
        profile, _ = measured(replace(PLAIN, slots=slots, kept_texts=slots))
        assert profile.prefill.error < 1e-6
        assert profile.call_s == pytest.approx(3e-4, rel=1e-3)
        for new, cached in ((1, 0), (100, 300), (77, 9)):
            assert profile.prefill_s(new, cached) == pytest.approx(prefill_s(new, cached), rel=1e-3)
        for batch in (1, slots):
            assert profile.decode_s(batch, 500) == pytest.approx(decode_s(batch, 500), rel=0.01)

    def test_both_in_one_iteration(self) -> None:
        profile, samples = measured(replace(PLAIN, slots=4, kept_texts=4))
        assert any(isinstance(sample.place, Mixed) for sample in samples)
        assert profile.mixed_decode == pytest.approx(1.0, rel=0.05)
        alone, _ = measured(PLAIN)
        assert alone.mixed_decode is None

    @pytest.mark.parametrize("slots", [1, 4])
    def test_passes_as_wide_as_guesses_make_them(self, slots: int) -> None:
        nature = replace(PLAIN, slots=slots, kept_texts=slots, wide=lambda width: (7 + width) / 8)
        with target_of(nature) as target:
            profile = measure_latency(replace(target, widest_pass=13), PATIENT)
        assert profile.widest_pass == 13
        assert {one.batch for one in profile.pass_ratios} == {1, slots}
        for width, batch in ((13, 1), (10, slots), (20, 1)):
            assert profile.pass_ratio(width, batch) == pytest.approx((7 + width) / 8, rel=0.02)
        assert profile.pass_ratio(1) == 1.0
        assert not measured(PLAIN)[0].pass_ratios

    def test_what_guesses_cost_is_not_measured_where_there_is_no_time(self) -> None:
        slow = replace(PLAIN, prefill_s=lambda new, cached: 1 + prefill_s(new, cached))
        with target_of(slow) as target:
            profile = measure_latency(replace(target, widest_pass=13), MeasuringEffort(10.0))
        assert not profile.pass_ratios
        assert "passes of 13 tokens, only of 1" in profile.unmeasured

    def test_the_fixed_part_of_a_call_to_a_server(self) -> None:
        """Between a prefill of one token and a decode is what a call costs before."""
        with target_of(PLAIN) as target:
            remote = replace(target, is_remote=True)
            profile = measure_latency(remote, PATIENT)
        assert profile.call_s == pytest.approx(prefill_s(1, 0) - decode_s(1, 16), rel=0.02)
        assert profile.call_s + profile.prefill_s(300, 0) == pytest.approx(prefill_s(300, 0), 0.02)


def batched_s(batch: int, context: int) -> float:
    """A small model on a CPU: what a call costs is most of it."""
    return 0.034 + 0.021 * batch + 1e-5 * context


@pytest.mark.parametrize("budget_s", [3.0, 6.0, 12.0, 25.0, 60.0])
def test_what_a_batch_costs_is_told_from_context_or_not_claimed(budget_s: float) -> None:
    slow = Nature(lambda new, cached: 0.05 + 0.003 * new, batched_s, slots=3, kept_texts=3)
    profile, _ = measured(slow, MeasuringEffort(budget_s))
    for context in (60, 300, 900):
        error = abs(profile.decode_s(3, context) / batched_s(3, context) - 1)
        assert error <= max(profile.decode.stated_error, 0.03), context


def noisy(seed: int, drift: float) -> Callable[[], float]:
    """Lognormal noise, some slow iterations, and a level that wanders."""
    rng, level = np.random.default_rng(seed), [0.0]

    def factor() -> float:
        level[0] = 0.999 * level[0] + drift * rng.standard_normal()
        slow = 5.0 if rng.random() < 0.01 else 1.0
        return slow * math.exp(0.05 * rng.standard_normal() + level[0])

    return factor


class TestTrust:
    @pytest.mark.parametrize("drift", [0.0, 0.003])
    def test_twice_in_a_row_within_the_stated_error(self, drift: float) -> None:
        effort = MeasuringEffort(10.0, target_error=0.01)
        runs = [
            measured(replace(PLAIN, factor=noisy(seed, drift)), effort, seed=seed)[0]
            for seed in range(2)
        ]
        one, two = runs
        places = Region(LONGEST, block_tokens=1).coarse()
        for kind in (Prefill, Decode):
            apart = [
                abs(expected_s(one, place) / expected_s(two, place) - 1)
                for place in places
                if isinstance(place, kind)
            ]
            fits = [run.prefill if kind is Prefill else run.decode for run in runs]
            assert np.median(apart) <= max(fit.stated_error for fit in fits)

    def test_a_level_that_wanders_is_stated(self) -> None:
        calm, _ = measured(replace(PLAIN, factor=noisy(1, 0.0)), MeasuringEffort(10.0, 0.01))
        wild, _ = measured(replace(PLAIN, factor=noisy(1, 0.01)), MeasuringEffort(10.0, 0.01))
        assert wild.prefill.drift > 3 * calm.prefill.drift

    def test_outliers_are_kept_as_spread_and_mean(self) -> None:
        rng = random.Random(0)
        slow = replace(PLAIN, factor=lambda: 11.0 if rng.random() < 0.05 else 1.0)
        profile, _ = measured(slow, MeasuringEffort(30.0))
        middle = float(np.dot(profile.decode.coefficients, (1, 1, 100)))
        assert middle == pytest.approx(decode_s(1, 100), rel=0.05)
        assert 1.2 < profile.decode.mean_ratio < 1.8


class TestEffort:
    def test_a_good_fit_needs_the_coarse_grid_only(self) -> None:
        _, samples = measured(PLAIN)
        coarse = Region(LONGEST, block_tokens=1).coarse()
        counts = visits(samples)
        assert set(counts) == set(coarse)
        # As often as there was time for: some seconds, and then not once more.
        assert len(set(counts.values())) == 1
        assert min(counts.values()) > LEAST_VISITS
        # Finding out about the prefix cache took its share.
        assert LEAST_S - 1 < sum(sample.took_s for sample in samples) < LEAST_S + 1

    def test_it_looks_closer_where_the_fit_is_worst(self) -> None:
        """Prefills go up and down as no term of the formula does; decodes fit."""
        wave = replace(
            PLAIN, prefill_s=lambda n, k: prefill_s(n, k) * (1 + 0.3 * math.sin(6 * math.log(n)))
        )
        _, samples = measured(wave, MeasuringEffort(20.0))
        coarse = Region(LONGEST, block_tokens=1).coarse()
        new = [place for place in visits(samples) if place not in coarse]
        assert new
        assert all(isinstance(place, Prefill) for place in new)

    def test_it_ends_when_its_time_is_up(self) -> None:
        clock, effort = VirtualClock(), MeasuringEffort(5.0, target_error=1e-9)
        with target_of(replace(PLAIN, factor=noisy(0, 0.0)), clock) as target:
            measure_latency(target, effort)
        assert 4.9 < clock.now_s <= 5.0

    def test_however_little_time_there_is_a_fit_is_made_and_it_says_so(self) -> None:
        profile, samples = measured(PLAIN, MeasuringEffort(1e-6))
        counts = visits(samples)
        assert set(counts.values()) == {1}
        assert sum(isinstance(place, Prefill) for place in counts) == FOLDS
        assert sum(isinstance(place, Decode) for place in counts) == LEAST_DECODE_POINTS
        assert profile.unmeasured[-1].startswith("anything within 1e-06 s: the least for a fit")

    @pytest.mark.parametrize("reports", [True, False])
    @pytest.mark.parametrize("slots", [1, 4])
    @pytest.mark.parametrize("slower", [1, 30])
    @pytest.mark.parametrize("budget_s", [2.0, 10.0, 60.0])
    def test_a_budget_is_kept(
        self, budget_s: float, slower: float, slots: int, reports: bool
    ) -> None:
        """Or else it says that the least took longer; what lies beyond its range is told."""
        clock, nature = VirtualClock(), replace(PLAIN, slots=slots, reports_cached=reports)
        nature = replace(nature, factor=lambda: slower)
        with target_of(nature, clock) as target:
            profile = measure_latency(target, MeasuringEffort(budget_s))
        is_over = any(words.startswith("anything within") for words in profile.unmeasured)
        assert is_over == (clock.now_s > budget_s)
        asked = [place for place in Region(LONGEST, slots).coarse() if isinstance(place, Prefill)]
        most = max(place.new_tokens for place in asked)
        is_whole = profile.measured_range.new_tokens == most
        assert is_whole != any("new tokens, only" in words for words in profile.unmeasured)
        if slower == 1 and budget_s > 2 and reports:
            assert profile.unmeasured == ()

    def test_a_last_visit_that_takes_longer_is_not_the_least(self) -> None:
        clock, effort = VirtualClock(), MeasuringEffort(5.0, target_error=1e-9)
        nature = replace(PLAIN, factor=lambda: 50 if clock.now_s > 4.8 else 1)
        with target_of(nature, clock) as target:
            profile = measure_latency(target, effort)
        assert clock.now_s > 5
        assert not any(words.startswith("anything within") for words in profile.unmeasured)

    def test_its_ends_are_visited_before_what_lies_between(self) -> None:
        _, samples = measured(PLAIN)
        first = list(visits(samples[:6]))
        assert {Prefill(1, 0), Prefill(LONGEST, 0)} <= set(first)
        longest = max(p.context_tokens for p in visits(samples) if isinstance(p, Decode))
        assert Decode(1, longest) in first

    def test_what_is_known_is_not_measured_again(self) -> None:
        whole, samples = measured(PLAIN)
        again, more = measured(PLAIN, known=samples)
        assert more == []
        assert again.prefill.coefficients == pytest.approx(whole.prefill.coefficients, rel=1e-6)
        _, rest = measured(PLAIN, known=samples[:20])
        # What is known counts at once, so it may end a round earlier.
        assert 0 <= len(samples) - 20 - len(rest) <= len(visits(samples))

    def test_time_that_was_spent_before_counts(self) -> None:
        slow = MeasuringEffort(5.0, target_error=1e-9)
        nature = replace(PLAIN, factor=noisy(0, 0.0))
        _, samples = measured(nature, slow)
        _, more = measured(nature, slow, known=samples)
        assert len(more) < len(samples) / 2


class TestPrefixCache:
    @pytest.mark.parametrize("reports", [True, False])
    @pytest.mark.parametrize(
        ("block", "kept", "generated"), [(1, 1, True), (16, 4, True), (64, 9, False), (32, 2, True)]
    )
    def test_is_found(self, block: int, kept: int, generated: bool, reports: bool) -> None:
        nature = replace(
            PLAIN,
            block_tokens=block,
            kept_texts=kept,
            keeps_generated=generated,
            reports_cached=reports,
        )
        with target_of(nature) as target:
            found = find_cache(target)
        assert found is not None
        assert (found.block_tokens, found.keeps_generated) == (block, generated)
        assert found.kept_texts == (2 ** int(math.log2(kept - 1)) if kept > 1 else 0)
        assert found.recomputed_tokens == (block if block > 1 or not reports else 1)
        assert found.is_reported == reports

    @pytest.mark.parametrize("reports", [True, False])
    def test_none_is_found_where_there_is_none(self, reports: bool) -> None:
        nature = replace(
            PLAIN,
            kept_texts=0,
            reports_cached=reports,
            factor=noisy(3, 0.0) if reports else PLAIN.factor,
        )
        with target_of(nature) as target:
            assert find_cache(target) is None

    @pytest.mark.parametrize("spelled", [1, 4])
    def test_a_template_before_every_prompt_is_no_cache(self, spelled: int) -> None:
        """A chat server's: it is always cached, and its tokens may be smaller than a prompt's."""
        nature = replace(PLAIN, kept_texts=4, template_tokens=24, spelled=spelled)
        with target_of(nature) as target:
            remote = replace(target, is_remote=True, counts_tokens=spelled == 1)
            profile = measure_latency(remote, PATIENT)
        cached = {point.cached_tokens for point in profile.prefill_points}
        assert 0 in cached
        assert max(cached) > 100
        assert profile.prefill.error < 0.01
        cache = profile.cache
        assert cache is not None
        assert (cache.block_tokens, cache.kept_texts) == (spelled, 2)
        assert cache.recomputed_tokens == (1 if spelled == 1 else 0)

    def test_places_are_those_that_it_can_hold(self) -> None:
        _, samples = measured(replace(PLAIN, block_tokens=64, kept_texts=4))
        cached = {s.place.cached_tokens for s in samples if isinstance(s.place, Prefill)}
        assert cached == {0, 192}


def test_a_scene_is_played_once_for_each_time_that_is_taken() -> None:
    """As often as the search for a cache counts on."""
    played = list[int]()
    with target_of(PLAIN) as target:

        def scene() -> list[int]:
            played.append(1)
            return target.draw(64)

        assert abs(TimedHits.of(target, 256).hits(scene)) < 16
    assert len(played) == REPEATS


def test_contention_is_what_turns_cost_more() -> None:
    clock, working = VirtualClock(), list[VirtualEngine]()
    crowded = replace(PLAIN, factor=lambda: 1.3 if all(e.has_work for e in working) else 1.0)
    with Device() as device:
        one, two = (target_on(device, crowded, clock, seed) for seed in (0, 1))
        for target in (one, two):
            assert isinstance(target.engine, VirtualEngine)
            working.append(target.engine)
        assert measure_contention(one, two) == pytest.approx(1.3, rel=0.02)


def test_drift_needs_some_samples() -> None:
    profile, samples = measured(PLAIN, MeasuringEffort(1e-6))
    assert Samples(taken=samples[:0]).took_s == 0
    assert profile.prefill.drift < 1e-6


@pytest.mark.parametrize("slots", [1, 3])
def test_real_engines_are_measured(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that everything is visited and that more work takes longer: no figure is asserted."""
    monkeypatch.setattr("executor.measure.measure_latency.LEAST_S", 0.0)
    model = random_model("llama", 1)
    rng = random.Random(0)
    with Device() as device:
        engine = (
            BatchingEngine(model, device, slots) if slots > 1 else TransformersEngine(model, device)
        )
        target = Target(
            engine,
            lambda tokens: [rng.randrange(VOCABULARY) for _ in range(tokens)],
            96,
            slots,
            96 if slots > 1 else 0,
        )
        found = measure_latency(target, MeasuringEffort(1e3, target_error=1e3))
    assert {point.batch for point in found.decode_points} == set(range(1, slots + 1))
    assert found.cache == PrefixCache(1, 1, True, 2 if slots > 1 else 0)
    assert (found.mixed_decode is None) == (slots == 1)
    assert found.prefill_s(96, 0) > found.prefill_s(1, 0) > 0
