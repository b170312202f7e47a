"""Transforms of a decode rate: their formulas, and what the simulator makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from benchmarks.systems import rows
from profiles.guessed_passes import GuessedTexts, Pass
from profiles.hardware.transforms import Factors, expected_tokens, factors, factors_of
from profiles.lengths import LengthProfile, LengthSample, save_lengths
from profiles.store import provenance_of_now, save
from profiles.subject import PipelineSubject
from simulator.core.cost import at, attention_ps, decode_sum_ps, linear_cost
from simulator.core.transformed_cost import transformed
from simulator.run import run_workload
from simulator.setups import setup_of
from staircase import RequestShape, Schedule, Workload, single
from staircase.errors import ScenarioError
from staircase.prompt import query
from staircase.spec.simulated_spec import SimulatedSpec
from staircase.spec.transform_spec import TransformSpec

CHECK: TypeAdapter[TransformSpec] = TypeAdapter(TransformSpec)
COST = linear_cost(
    iteration_s=0.02,
    token_s=1e-4,
    sequence_s=1e-4,
    context_s=1e-6,
    max_tokens=512,
    max_sequences=32,
)


def spec(**keys: object) -> TransformSpec:
    return CHECK.validate_python(keys)


def speculative(**keys: object) -> TransformSpec:
    return spec(kind="speculative", **{"draft_tokens": 4, "acceptance": 0.7, **keys})


def free(width: int) -> float:
    """A pass over more positions takes as long."""
    return 1.0


TRANSFORMS = st.one_of(
    st.builds(
        speculative,
        acceptance=st.floats(0, 1),
        draft_tokens=st.integers(1, 8),
        draft_cost=st.floats(0, 1),
        overlapped=st.booleans(),
    ),
    st.builds(spec, kind=st.just("multi_token"), tokens_per_step=st.floats(1, 16)),
    st.builds(spec, kind=st.just("early_exit"), share=st.floats(0, 1), depth=st.floats(0.1, 1)),
    st.builds(spec, kind=st.just("quantized"), weight_bits=st.sampled_from([4, 8])),
)


class TestFormulas:
    @given(st.floats(0, 0.99), st.integers(1, 12))
    def test_expected_tokens_as_published(self, acceptance: float, drafts: int) -> None:
        closed = (1 - acceptance ** (drafts + 1)) / (1 - acceptance)
        assert expected_tokens(acceptance, drafts) == pytest.approx(closed)

    def test_expected_tokens_as_played(self) -> None:
        rng = np.random.default_rng(0)
        accepted = rng.random((200_000, 4)) < 0.7
        tokens = 1 + np.cumprod(accepted, axis=1).sum(axis=1)
        assert expected_tokens(0.7, 4) == pytest.approx(tokens.mean(), rel=0.01)

    def test_a_round_of_drafts_and_a_check(self) -> None:
        tokens = expected_tokens(0.7, 4)
        found = factors_of(speculative(draft_cost=0.1), 1, free)
        assert found.dense == found.attention == pytest.approx(1.4 / tokens)
        hidden = factors_of(speculative(draft_cost=0.1, overlapped=True), 1, free)
        assert hidden.dense == pytest.approx(1 / tokens)

    def test_checking_costs_what_the_tables_say(self) -> None:
        found = factors_of(speculative(), 1, lambda width: {5: 2.0}[width])
        assert found.dense == pytest.approx(2 / expected_tokens(0.7, 4))
        assert found.attention == pytest.approx(1 / expected_tokens(0.7, 4))
        given_cost = factors_of(speculative(verify_cost=1.5), 1, free)
        assert given_cost.dense == pytest.approx(1.5 / expected_tokens(0.7, 4))

    def test_a_batch_goes_as_deep_as_its_deepest(self) -> None:
        early = spec(kind="early_exit", share=0.5, depth=0.4, overhead=0.01)
        assert factors_of(early, 1, free).dense == pytest.approx(1 - 0.5 * 0.6 + 0.01)
        assert factors_of(early, 3, free).dense == pytest.approx(1 - 0.125 * 0.6 + 0.01)

    def test_bits(self) -> None:
        four = spec(kind="quantized", weight_bits=4, kv_bits=8, weight_share=0.8)
        found = factors_of(four, 1, free)
        assert (found.dense, found.attention) == pytest.approx((1 - 0.8 * 0.75, 0.5))

    @given(st.lists(TRANSFORMS, max_size=3), st.integers(1, 32))
    def test_compose_in_any_order(self, chain: list[TransformSpec], sequences: int) -> None:
        one, other = factors(chain, sequences, free), factors(chain[::-1], sequences, free)
        assert one.dense == pytest.approx(other.dense)
        assert one.dense > 0

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"kind": "speculative", "draft_tokens": 4}, "one of acceptance and tokens_per_round"),
            ({"kind": "speculative", "acceptance": 0.5}, "give draft_tokens, or measured"),
            (
                {
                    "kind": "speculative",
                    "measured": {"profile": "q.json", "agent": "z"},
                    "acceptance": 0.5,
                },
                "acceptance has no effect beside measured",
            ),
            (
                {"kind": "speculative", "draft_tokens": 2, "tokens_per_round": 4},
                "must not be above draft_tokens",
            ),
            (
                {"kind": "multi_token", "tokens_per_step": 2, "window": 4, "step_cost": 1},
                "one of step_cost and window",
            ),
            ({"kind": "early_exit", "share": 1.2, "depth": 0.5}, "less than or equal to 1"),
            ({"kind": "quantised"}, "'speculative', 'multi_token', 'early_exit', 'quantized'"),
            ({"kind": "quantized", "bits": 4}, "unknown key 'bits'"),
        ],
    )
    def test_what_is_wrong_is_told(self, keys: dict[str, object], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            CHECK.validate_python(keys)


class TestCost:
    @given(TRANSFORMS, st.integers(1, 32), st.integers(1, 4000))
    def test_pure_decodes_scale_and_others_stay(
        self, transform: TransformSpec, sequences: int, context: int
    ) -> None:
        found = transformed(COST, [transform])

        def widened(width: int) -> float:
            tokens = at(COST.tokens_ps, width * sequences)
            return float(tokens / at(COST.tokens_ps, sequences))

        wanted = factors_of(transform, sequences, widened)
        dense = at(COST.decode_ps, sequences) * wanted.dense
        attention = attention_ps(COST, sequences, context) * wanted.attention
        total = decode_sum_ps(found, sequences, context, 1)
        # Each token of context is rounded to a picosecond.
        assert total == pytest.approx(dense + attention, abs=2 + context)
        assert found.tokens_ps is COST.tokens_ps
        assert found.mixed_ps is COST.mixed_ps

    def test_more_sequences_gain_less_by_speculation(self) -> None:
        found = transformed(COST, [speculative(draft_cost=0.05)])
        gains = [at(COST.decode_ps, n) / at(found.decode_ps, n) for n in (1, 4, 16, 32)]
        assert gains == sorted(gains, reverse=True)
        assert gains[0] > 2

    def test_none_is_the_engine_itself(self) -> None:
        assert transformed(COST, []) is COST


PASSES = (Pass(1, 1), *[Pass(5, 3), Pass(1, 1)] * 4)


class TestMeasuredTexts:
    def test_every_pass_costs_as_wide_as_it_was(self) -> None:
        found = factors_of(GuessedTexts((PASSES,)), 1, lambda width: {1: 1.0, 5: 2.0}[width])
        assert found == Factors(4 * (2.0 + 1.0) / 16, 8 / 16)

    def played(self, path: Path, agent: str = "z") -> float:
        rates = {"decode_tokens_per_s": 50, "prefill_tokens_per_s": 5000}
        measured = {"kind": "speculative", "measured": {"profile": path.name, "agent": agent}}
        engine = SimulatedSpec.model_validate(
            {"kind": "simulated", **rates, "transforms": [measured]}
        )
        shapes = [RequestShape({query("model"): 300}, {"model": 101}, "length")]
        setups = {"model": setup_of(engine, "model", folder=path.parent)}
        run = run_workload(single(), Schedule(), setups, Workload(shapes))
        return run.measured.summaries()["tpot_s"].mean

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        sample = LengthSample({}, {"z": 17}, passes={"z": PASSES})
        subject = PipelineSubject("z", {"z": ()})
        found = LengthProfile(
            (sample,), "", subject, provenance_of_now(), {"z": "4 after the last 3"}
        )
        save_lengths(tmp_path / "lengths.json", found)
        return tmp_path / "lengths.json"

    def test_a_scenario_names_them(self, path: Path) -> None:
        # A prefill of five tokens takes 0.0008 s more than one of a single token.
        wide = 1 + 4 / 5000 / (1 / 50 + 1 / 5000)
        assert self.played(path) == pytest.approx((4 + 4 * wide) / 16 / 50, rel=1e-3)

    def test_an_agent_that_was_not_guessed_is_told(self, path: Path) -> None:
        with pytest.raises(ScenarioError, match=r"engines.model: .*guesses of 'a', only of z"):
            self.played(path, "a")

    def test_another_file_is_told(self, tmp_path: Path) -> None:
        wrong = tmp_path / "latency.json"
        save(wrong, "staircase.other/1", [], list)
        with pytest.raises(ScenarioError, match="must be a profile of quality or lengths"):
            self.played(wrong)


def test_an_engine_writes_faster_and_reads_as_fast() -> None:
    def played(**keys: object) -> tuple[float, float]:
        rates = {"decode_tokens_per_s": 50, "prefill_tokens_per_s": 5000}
        engine = SimulatedSpec.model_validate({"kind": "simulated", **rates, **keys})
        shapes = [RequestShape({query("model"): 300}, {"model": 101}, "length")]
        run = run_workload(single(), Schedule(), {"model": setup_of(engine)}, Workload(shapes))
        metrics = run.measured.summaries()
        return metrics["ttft_s"].mean, metrics["tpot_s"].mean

    twice = {"kind": "multi_token", "tokens_per_step": 2}
    eight_bits = {"kind": "quantized", "weight_bits": 8}
    (ttft, tpot), (same, less) = played(), played(transforms=[twice, eight_bits])
    assert same == ttft
    assert less == pytest.approx(tpot / 4)


def test_published_systems() -> None:
    found = {(row.system, row.how): row.found for row in rows()}
    assert found["dParallel", "restated"] == "10.67x"
    assert found["CoSine", "cross-checked"].startswith("+30.2%")
    assert {row.how for row in rows()} == {"restated", "cross-checked", "implied"}
