"""Rooflines: shapes, seconds that grow as they must, cost tables, and engines by hardware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.roofline import TARGETS, aiconfigurator, llmservingsim
from profiles.hardware.gpus import HARDWARE, hardware
from profiles.hardware.known_models import SHAPES, model_shape
from profiles.hardware.model_shape import ModelShape
from profiles.hardware.roofline import SPREAD, PrefillChunk, Roofline
from simulator.core.cost import (
    at,
    attention_ps,
    cost_of_roofline,
    decode_sum_ps,
    mixed_attention_ps,
)
from simulator.des.batching import BatchingSetup
from simulator.setups import setup_of
from staircase.errors import ProfileError, ScenarioError
from staircase.spec.scenario import load_scenario
from staircase.spec.simulated_spec import SimulatedSpec

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
MODELLED = {"kind": "simulated", "hardware": "H100-SXM", "model": "Llama-3.1-8B"}

counts = st.integers(1, 5000)
LLAMA = SHAPES["Llama-3.1-8B"]
# Half of its layers see 100 tokens, the others keep a state besides.
WINDOWED = replace(
    LLAMA,
    attention=(
        replace(LLAMA.attention[0], layers=16, window=100),
        replace(LLAMA.attention[0], layers=16),
    ),
    state_bytes=10**6,
)
rooflines = st.builds(
    Roofline,
    st.sampled_from([*SHAPES.values(), WINDOWED]),
    st.sampled_from(list(HARDWARE.values())),
    st.sampled_from([1, 2, 4, 8]),
)


def test_unknown_names_are_told() -> None:
    with pytest.raises(ProfileError, match="hardware 'H100' is not known; did you mean 'H"):
        hardware("H100")
    with pytest.raises(ProfileError, match=r"neither a config\.json nor one of Llama"):
        model_shape("Llama-4")


@given(rooflines, counts, counts, st.integers(0, 5000))
def test_more_work_never_takes_less(
    roofline: Roofline, new: int, decoding: int, before: int
) -> None:
    context = decoding * before
    base = roofline.iteration_s([PrefillChunk(new, before)], decoding, context)
    assert 0 < base <= roofline.iteration_s([PrefillChunk(new + 1, before)], decoding, context)
    assert base <= roofline.iteration_s([PrefillChunk(new, before + 1)], decoding, context)
    assert base <= roofline.iteration_s([PrefillChunk(new, before)], decoding + 1, context)
    assert base <= roofline.iteration_s([PrefillChunk(new, before)], decoding, context + 1)


@given(rooflines)
def test_norms_of_queries_and_keys_take_as_long_as_other_kernels(roofline: Roofline) -> None:
    shape, kernel_s = roofline.shape, roofline.efficiency.kernel_s
    more = replace(roofline, shape=replace(shape, norms=shape.norms + 2))
    longer_s = more.tokens_s(1) - roofline.tokens_s(1)
    assert longer_s == pytest.approx(2 * shape.layers * kernel_s)


@given(rooflines, counts)
def test_a_chunk_in_two_takes_no_less_than_whole(roofline: Roofline, half: int) -> None:
    whole = roofline.iteration_s([PrefillChunk(2 * half, 0)], 0, 0)
    halves = [roofline.iteration_s([PrefillChunk(half, before)], 0, 0) for before in (0, half)]
    assert sum(halves) >= whole * (1 - 1e-12)


@given(st.sampled_from(list(SHAPES.values())), counts, counts)
def test_faster_memory_never_takes_longer(shape: ModelShape, new: int, before: int) -> None:
    seconds = [
        Roofline(shape, HARDWARE[name]).iteration_s([PrefillChunk(new, before)], 8, 8 * before)
        for name in ("H100-SXM", "H200")
    ]
    assert seconds[1] <= seconds[0]


def test_decoding_alone_reads_all_weights_but_the_embedding_once() -> None:
    roofline = Roofline(SHAPES["Llama-3.1-8B"], HARDWARE["H100-SXM"])
    read = roofline.shape.weight_bytes - 2 * roofline.shape.head.parameters
    fixed = 32 * 10 * 2e-6
    assert roofline.iteration_s([], 1, 0) == pytest.approx(read / (0.8 * 3350e9) + fixed)


def test_devices_share_the_work_and_pay_for_their_sums() -> None:
    alone, four = (Roofline(SHAPES["Llama-3.1-70B"], HARDWARE["H100-SXM"], n) for n in (1, 4))
    fixed = 80 * 10 * 2e-6
    sums = 160 * (6.6e-6 + 6 * 0.6e-6 + 1.5 * 100 * 8192 * 2 / (0.8 * 450e9))
    assert four.tokens_s(100) - fixed - sums == pytest.approx((alone.tokens_s(100) - fixed) / 4)


@pytest.mark.parametrize("shape", [SHAPES["Qwen3-0.6B"], SHAPES["Llama-3.1-70B"], WINDOWED])
def test_cost_tables_are_the_roofline_at_their_grid(shape: ModelShape) -> None:
    roofline = Roofline(shape, HARDWARE["A100-80GB-SXM"], 4)
    cost = cost_of_roofline(roofline, 512, 64)
    for sequences in (1, 7, 64):
        took = at(cost.decode_ps, sequences) + attention_ps(cost, sequences, sequences * 900)
        assert took == decode_sum_ps(cost, sequences, sequences * 900, 1)
        said = roofline.iteration_s([], sequences, sequences * 900)
        assert took * 1e-12 == pytest.approx(said, rel=1e-4)
    for chunk, before in zip(cost.chunks[1::5], cost.before[::5], strict=False):
        work = int(chunk * (2 * before + chunk))
        took = at(cost.tokens_ps, chunk + 5) + at(cost.sequences_ps, 6)
        took += mixed_attention_ps(cost, int(chunk), work, 5, 5 * 700)
        said = roofline.iteration_s([PrefillChunk(int(chunk), int(before))], 5, 5 * 700)
        assert took * 1e-12 == pytest.approx(said, rel=1e-4)


def test_a_factor_scales_every_table() -> None:
    roofline = Roofline(SHAPES["Qwen3-8B"], HARDWARE["L40S"])
    once, twice = (cost_of_roofline(roofline, 64, 8, factor) for factor in (1.0, 2.0))
    for name in ("tokens_ps", "sequences_ps", "decode_ps", "attention_slope", "mixed_ps"):
        np.testing.assert_allclose(getattr(twice, name), 2 * getattr(once, name), rtol=1e-4)


def test_an_engine_by_hardware_has_the_memory_left_by_its_weights() -> None:
    setup = setup_of(SimulatedSpec.model_validate(MODELLED), "own")
    assert isinstance(setup, BatchingSetup)
    left = 0.9 * 80e9 - SHAPES["Llama-3.1-8B"].weight_bytes
    assert setup.limits.blocks == int(left // (16 * 128 * 1024))
    given = setup_of(SimulatedSpec.model_validate(MODELLED | {"kv_blocks": 7}), "own")
    assert isinstance(given, BatchingSetup)
    assert given.limits.blocks == 7


def test_replicates_of_a_roofline_differ_unless_told_otherwise() -> None:
    def first_ps(replicate: int, **changes: Any) -> int:
        setup = setup_of(SimulatedSpec.model_validate(MODELLED | changes), "own", replicate)
        assert isinstance(setup, BatchingSetup)
        return int(setup.cost.decode_ps[1])

    assert first_ps(1) != first_ps(0)
    assert first_ps(1) == first_ps(1, spread=SPREAD)
    assert first_ps(1, spread=0.0) == first_ps(0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"hardware": "H100-SMX"},
            "engines.own: hardware 'H100-SMX' is not known; did you mean 'H100-SXM'",
        ),
        ({"model": "Llama-9"}, "engines.own: model 'Llama-9' is neither a config.json nor one of"),
        ({"model": "no/config.json"}, "engines.own: .*no/config.json: no such file"),
        ({"model": "Llama-3.1-70B"}, "engines.own: 141.1 GB of weights leave no room"),
    ],
)
def test_what_is_not_known_or_does_not_fit_is_told(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        setup_of(SimulatedSpec.model_validate(MODELLED | changes), "own")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"kind": "simulated"}, "decode_tokens_per_s is missing: give .*; or hardware and model"),
        ({"kind": "simulated", "decode_tokens_per_s": 5.0}, "prefill_tokens_per_s is missing"),
        ({"kind": "simulated", "hardware": "L4"}, "model is missing: give hardware and model"),
        ({"kind": "simulated", "tensor_parallel": 2}, "hardware is missing"),
        (MODELLED | {"decode_tokens_per_s": 5.0}, "decode_tokens_per_s must not be given beside"),
        (MODELLED | {"context_s": 0.0}, "context_s must not be given beside hardware and model"),
    ],
)
def test_one_way_to_say_what_an_engine_costs(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SimulatedSpec.model_validate(spec)


def test_the_example_fits_its_hardware() -> None:
    scenario = load_scenario(ROOT / "examples" / "other_hardware.yaml")
    for name, spec in scenario.simulated.items():
        setup = setup_of(spec, name, folder=ROOT / "examples")
        assert isinstance(setup, BatchingSetup)
        assert setup.limits.blocks is not None
        assert setup.limits.blocks > 1000


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="public measurements are not beside the checkout")
def test_kernels_of_others_are_met_without_a_fit() -> None:
    judged = [
        *aiconfigurator(DATA / "aiconfigurator" / "derived_prefill_decode_profile.csv"),
        *llmservingsim(DATA / "llmservingsim" / "profiler" / "perf"),
    ]
    for device in {row.hardware for row in judged}:
        for phase, target in TARGETS.items():
            rows = [row for row in judged if (row.hardware, row.phase) == (device, phase)]
            errors = [abs(row.forecast_s / row.seconds - 1) for row in rows]
            assert np.median(errors) <= target, (device, phase)
