"""Forecasts of simulated engines: replicates, noise, and the capacity search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.capacity import Capacity
from simulator.forecast import capacity_of, forecast_simulated, replicated
from staircase import Schedule
from staircase.errors import ScenarioError
from staircase.metrics.run_metrics import Slo
from staircase.spec.scenario import Scenario


def scenario(engine: dict[str, Any] | None = None, **workload: Any) -> Scenario:
    own = {"kind": "simulated", "decode_tokens_per_s": 50, "prefill_tokens_per_s": 5000}
    asked = {"requests": 60, "query_tokens": 100, "output_tokens": {"a": 50}, "rate_per_s": 1.0}
    return Scenario.model_validate(
        {
            "name": "one",
            "pipeline": {"single": "a"},
            "engines": {"a": own | (engine or {})},
            "workload": asked | workload,
        }
    )


def test_replicates_differ_and_can_be_had_again() -> None:
    one = forecast_simulated(scenario(), Schedule(), replicates=3)
    again = forecast_simulated(scenario(), Schedule(), replicates=3)
    assert one.metrics == again.metrics
    means = [run.columns["ttft_s"].mean() for run in one.runs]
    assert len(set(means)) == 3
    assert one.metrics["ttft_s"].low >= min(means)
    assert one.metrics["ttft_s"].high <= max(means)
    assert one.metrics["ttft_s"].mean == pytest.approx(sum(means) / 3)


def test_spread_widens_what_replicates_say() -> None:
    alone: dict[str, Any] = {"rate_per_s": 0.01, "requests": 5}
    sure = forecast_simulated(scenario(**alone), Schedule(), replicates=8)
    unsure = forecast_simulated(scenario({"spread": 0.2}, **alone), Schedule(), replicates=8)
    assert sure.metrics["tpot_s"].high == pytest.approx(sure.metrics["tpot_s"].low)
    width = unsure.metrics["tpot_s"].high - unsure.metrics["tpot_s"].low
    assert 0.1 < width / unsure.metrics["tpot_s"].mean < 1


def test_one_replicate_has_no_noise() -> None:
    plain = forecast_simulated(scenario(), Schedule())
    noisy = forecast_simulated(scenario({"spread": 0.5}), Schedule())
    assert plain.metrics == noisy.metrics


def capacity(given: Scenario, slo: Slo, replicates: int = 1) -> Capacity:
    return capacity_of(list(replicated(given, Path(), replicates)), Schedule(), slo, 0.9)


def test_a_rate_is_the_workload_of_that_rate() -> None:
    (one,) = replicated(scenario(), Path(), 1)
    (other,) = replicated(scenario(rate_per_s=3.0), Path(), 1)
    arrivals, expected = one.at_rate(3.0).workload.arrivals_ps, other.workload.arrivals_ps
    assert arrivals == pytest.approx(expected, abs=2)
    assert one.at_rate(3.0).workload.requests == other.workload.requests
    assert one.at_rate(3.0).at_rate(1.0).workload.arrivals_ps == pytest.approx(
        one.workload.arrivals_ps, abs=3
    )


def test_capacity_lies_between_rates_that_do_and_do_not_keep_the_limits() -> None:
    # 50 tokens of 20 ms, two at a time: two requests a second at most.
    found = capacity(scenario({"max_num_seqs": 2}, requests=400), Slo(ttft_s=2.0))
    assert found.rate_per_s is not None
    assert 1.5 < found.rate_per_s < 2.2
    assert found.is_bound
    for trial in found.trials:
        assert (trial.run.good_share >= 0.9) == (trial.rate_per_s <= found.rate_per_s)


def test_capacity_that_no_rate_has() -> None:
    found = capacity(scenario(requests=5), Slo(ttft_s=0.001))
    assert found.rate_per_s is None


def test_capacity_needs_a_rate_to_begin_with() -> None:
    closed = scenario(rate_per_s=None, concurrency=2)
    with pytest.raises(ScenarioError, match=r"workload.rate_per_s"):
        capacity(closed, Slo(ttft_s=1))


def test_priorities_name_agents() -> None:
    with pytest.raises(ValueError, match="'b' is no agent"):
        scenario({"scheduling": "priority", "priorities": {"b": 1}})
