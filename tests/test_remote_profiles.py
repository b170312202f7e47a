"""Latency profiles of servers, and what comes of them. The server's pace is scripted, in real time:
its waits are long beside what a busy machine adds, and the bounds are wide."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor.measure.measure_latency import MeasuringEffort, measure_latency
from executor.measure.measurements import Target
from executor.openai.engine import OpenAIEngine
from executor.openai.server import Address, Network
from executor.openai.server_profile import ServerProfile
from executor.openai.vocabularies import ModelTokens
from profiles.latency.profile import EngineProfile, load_latency
from tests.support.backends import CharacterTokenizer, server_settings
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Manners, Pace

PACE = Pace(call_s=0.03, prefill_token_s=4e-4, sequence_s=0.004, block_tokens=16)
TOKEN_S = 0.006


@pytest.fixture(scope="module")
def profiles() -> dict[bool, EngineProfile]:
    """Of a server that reports what it cached and of one that does not; at once, as both wait."""
    with ThreadPoolExecutor() as pool:
        return dict(zip((True, False), pool.map(profile_of_server, (True, False)), strict=True))


def profile_of_server(reports: bool) -> EngineProfile:
    fields = frozenset({"stream_options", "return_token_ids", "ignore_eos"})
    profile = ServerProfile(
        "completions", fields, takes_ids=True, returns_ids=True, reports_cached=reports
    )
    manners = Manners(token_s=TOKEN_S, pace=PACE, usage="apart" if reports else "never")
    tokenizer: Any = CharacterTokenizer()
    rng = random.Random(0)
    with FakeServer(manners) as fake, Network() as network:
        server = network.server(Address(fake.url, None, 10.0, 10.0))
        vocabulary = ModelTokens("fake", tokenizer)
        engine = OpenAIEngine(network, server, profile, server_settings("a"), vocabulary)
        target = Target(
            engine,
            lambda tokens: [rng.randrange(1, 900) for _ in range(tokens)],
            192,
            max_batch=4,
            is_remote=True,
            reports_cached=engine.reports_cached,
        )
        # Timed hits take up to half a minute to tell, of which a quarter of the budget is spent.
        return measure_latency(target, MeasuringEffort(160.0, target_error=0.3))


@pytest.mark.slow
@pytest.mark.parametrize("reports", [True, False])
def test_the_fit_recovers_the_pace_of_a_server(
    profiles: dict[bool, EngineProfile], reports: bool
) -> None:
    found = profiles[reports]
    assert found.cache is not None
    assert found.cache.block_tokens == 16
    assert found.cache.is_reported == reports
    # A call's beginning and the first token are one to who only sees the time between.
    cold_s = PACE.call_s + TOKEN_S + 192 * PACE.prefill_token_s
    assert found.call_s + found.prefill_s(192, 0) == pytest.approx(cold_s, rel=0.4)
    saved_s = found.prefill_s(192, 0) - found.prefill_s(64, 128)
    assert saved_s == pytest.approx(128 * PACE.prefill_token_s, rel=0.4)
    for batch in (1, 4):
        step_s = TOKEN_S + batch * PACE.sequence_s
        assert found.decode_s(batch, batch * 64) == pytest.approx(step_s, rel=0.4)
    assert found.call_s > 0.5 * PACE.call_s


def scenario(folder: Path, url: str) -> Path:
    content = {
        "name": "far",
        "pipeline": {
            "moa": {"layers": [["a", "b"]], "answer": "z"},
            "agents": {name: {"max_tokens": 40} for name in "abz"},
        },
        "engines": {
            name: {"kind": "openai", "base_url": url, "model": "one", "max_concurrency": 2}
            for name in "abz"
        },
        "workload": {"requests": 3, "query_tokens": 30, "output_tokens": dict.fromkeys("abz", 40)},
        "profile": {"budget_s": 0.1, "max_prompt_tokens": 64},
    }
    path = folder / "far.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.slow
def test_servers_are_profiled_and_simulated(tmp_path: Path) -> None:
    with FakeServer(Manners(length=10**6)) as fake:
        path, out = scenario(tmp_path, fake.url), ["--out", str(tmp_path / "out")]
        done = staircase("profile", str(path), *out)
    assert done.returncode == 0, done.stderr
    assert "quality cannot be measured: the server of z does not tell" in done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["latency.json"]
    engines = load_latency(tmp_path / "out" / "latency.json").engines
    assert engines["a"] == engines["z"], "one model of one server is measured once"
    words = ["--staircase", "constant:8,16,8", "--json"]
    simulated = staircase("simulate", str(path), *out, *words)
    assert simulated.returncode == 0, simulated.stderr
    found = json.loads(simulated.stdout)
    assert found["forecast"]["ttft_s"]["mean"] > 0
    assert "loss" not in found["forecast"]
    assert any(words.startswith("a, b, z: prefill") for words in found["extrapolated"])
    planned = staircase("plan", str(path), *out, "--trials", "12")
    assert planned.returncode == 0, planned.stderr
    assert "on the front of smooth_start, unread" in " ".join(planned.stdout.split())
