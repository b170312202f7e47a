"""Options and keys that would have no effect are told, in one line that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.cli.app import app
from staircase.errors import InputError
from staircase.spec.scenario import Scenario

RUN = "run planner/demo.yaml"
OPTIONS = {
    f"{RUN} --layout rebuild": "--layout",
    f"{RUN} --barrier quorum:1": "--barrier",
    f"{RUN} --without north": "--without",
    f"{RUN} --staircase normal --concurrency 2": "--concurrency",
    f"{RUN} --staircase normal --rate 2 --requests 1": "--rate",
    f"{RUN} --staircase normal --requests 3 question": "--requests",
    f"{RUN} --staircase normal --rate 2 question": "--rate",
    "simulate planner/demo.yaml --replicates 3": "--replicates",
    "simulate examples/paper_moa.yaml --show at_once": "--show",
    f"{RUN} --checked all": "--checked",
    f"{RUN} --window 8": "--window",
    "plan examples/paper_moa.yaml --workers 2 --ray localhost:1": "--workers",
    "explain plan.json --out folder": "--out",
    "profile planner/demo.yaml --only quality --budget 5": "--budget",
}


@pytest.mark.parametrize("words", OPTIONS)
def test_options(words: str) -> None:
    with pytest.raises(InputError, match=rf"^{OPTIONS[words]} has no effect here: ") as caught:
        CliRunner().invoke(app, words.split(), catch_exceptions=False)
    assert "\n" not in str(caught.value)


def scenario(**changes: Any) -> dict[str, Any]:
    engine = {"kind": "simulated", "decode_tokens_per_s": 50, "prefill_tokens_per_s": 5000}
    workload = {"requests": 2, "output_tokens": {"a": 9}}
    given: dict[str, Any] = {"pipeline": {"single": "a"}, "engines": {"a": engine}}
    given = {"name": "one", **given, "workload": workload}
    for place, value in changes.items():
        part, _, key = place.partition("__")
        target = given["engines"]["a"] if part == "engine" else given.setdefault(part, {})
        target[key] = value
    return given


ENDPOINT = {"kind": "endpoint", "ttft_s": 1, "itl_s": 1}
KEYS: dict[str, dict[str, Any]] = {
    "burstiness needs": {"workload__burstiness": 2.0},
    "concurrency must not be given": {"workload__concurrency": 2, "workload__rate_per_s": 1.0},
    "priorities need scheduling": {"engine__priorities": {"a": 1}},
    "block_tokens needs kv_blocks": {"engine__block_tokens": 32},
    "prefix_caching needs kv_blocks": {"engine__prefix_caching": True},
    "margin needs requests": {"plan__held_out": {"requests": 0, "margin": 0.1}},
    "capacity_share needs goodput": {"plan__capacity_share": 0.8},
    "plan.requests: simulated": {"plan__requests": 8},
    "requests.likelihood_by: simulated": {"requests__likelihood_by": "embedded"},
    "profile.latency: simulated": {"profile__latency": "latency.json"},
    "profile.quality: simulated": {"profile__quality": "quality.json"},
    "min_cached_tokens needs prefix_caching": {"engines__a": {**ENDPOINT, "min_cached_tokens": 9}},
    "block_tokens needs prefix_caching": {"engines__a": {**ENDPOINT, "block_tokens": 9}},
}


@pytest.mark.parametrize("words", KEYS)
def test_keys(words: str) -> None:
    Scenario.model_validate(scenario())
    with pytest.raises(ValueError, match=words):
        Scenario.model_validate(scenario(**KEYS[words]))


def test_a_staircase_where_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(json.dumps(scenario()))
    words = ["simulate", str(path), "--staircase", "constant:4,4,4"]
    with pytest.raises(InputError, match=r"^--staircase has no effect here"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_capacity_of_real_engines_needs_their_profile(tmp_path: Path) -> None:
    words = ["capacity", "planner/demo.yaml", "--slo", "ttft:500", "--out", str(tmp_path)]
    with pytest.raises(InputError, match=r"latency\.json: no latency profile; measure one with"):
        CliRunner().invoke(app, words, catch_exceptions=False)
