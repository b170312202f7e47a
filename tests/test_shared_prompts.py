"""Prompts that requests share: pools, conversations and blocks of traces, and what caches find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from planner.cli.app import app
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.run import run_workload
from simulator.setups import setup_of
from simulator.workloads import workload_of
from staircase import RequestShape, Schedule, Workload, single
from staircase.errors import InputError, WorkloadError
from staircase.prompt import Segment, query
from staircase.shared_texts import TextPart, with_common_texts
from staircase.spec.simulated_spec import AnySimulatedSpec, EndpointSpec, SimulatedSpec
from staircase.spec.workload_spec import WorkloadSpec
from tests.support.backends import fixed_profile

PIPELINE = single()
ENGINE = {
    "kind": "simulated",
    "decode_tokens_per_s": 50,
    "prefill_tokens_per_s": 10000,
    "kv_blocks": 4096,
}
REPLICA = SimulatedSpec.model_validate(ENGINE)


def drawn(seed: int = 0, replicate: int = 0, **keys: Any) -> Workload:
    spec = {"requests": 40, "query_tokens": 320, "output_tokens": {"model": 8}, "seed": seed}
    return workload_of(WorkloadSpec.model_validate({**spec, **keys}), PIPELINE, Path(), replicate)


def cached_by(workload: Workload, spec: AnySimulatedSpec = REPLICA) -> list[int]:
    """Cached prompt tokens of each request, the same by tables and on SimPy."""
    engines = {"model": setup_of(spec)}
    lines = simulate(PIPELINE, Schedule(), engines, workload)
    run = run_workload(PIPELINE, Schedule(), engines, workload, needs_timelines=True)
    assert list(run.timelines) == lines
    return [line.spans[0].cached_tokens for line in lines]


class TestPool:
    def test_a_prompt_is_prefilled_once(self) -> None:
        workload = drawn(prompts={"distinct": 3, "system_tokens": 96})
        asked = [request.parts[query("model")][1].name for request in workload.requests]
        assert len(set(asked)) == 3
        found = cached_by(workload)
        # The last token of a prompt is always computed, so its block is not found.
        known: set[str] = set()
        for name, tokens in zip(asked, found, strict=True):
            assert tokens == (400 if name in known else 96 if known else 0)
            known.add(name)

    def test_only_the_system_prompt(self) -> None:
        found = cached_by(drawn(prompts={"system_tokens": 100}))
        # Six whole blocks of 16.
        assert found == [0, *[96] * 39]

    def test_without_it_nothing_is_found(self) -> None:
        assert not any(cached_by(drawn()))

    def test_lengths_are_those_of_the_pool(self) -> None:
        lognormal = {"mean": 300, "sigma": 0.6}
        workload = drawn(prompts={"distinct": 5, "system_tokens": 7}, query_tokens=lognormal)
        lengths = {request.fixed_tokens[query("model")] for request in workload.requests}
        assert len(lengths) == 5
        for request in workload.requests:
            parts = request.parts[query("model")]
            assert sum(part.tokens for part in parts) == request.fixed_tokens[query("model")]
        assert workload == drawn(
            prompts={"distinct": 5, "system_tokens": 7}, query_tokens=lognormal
        )

    def test_replicates_ask_others(self) -> None:
        zero, one = (drawn(replicate=n, prompts={"distinct": 4}) for n in (0, 1))
        names = [[r.parts[query("model")][1].name for r in w.requests] for w in (zero, one)]
        assert names[0] != names[1]

    def test_an_evicted_prompt_is_prefilled_again(self) -> None:
        few = SimulatedSpec.model_validate(ENGINE | {"kv_blocks": 26})
        texts = [(TextPart(name, 320),) for name in "abab"]
        requests = [
            RequestShape({query("model"): 320}, {"model": 8}, "length", parts={query("model"): own})
            for own in texts
        ]
        assert cached_by(Workload(requests)) == [0, 0, 304, 304]
        assert cached_by(Workload(requests), few)[3] < 304


class TestTraces:
    def play(self, folder: Path, form: str, *rows: dict[str, Any]) -> list[int]:
        (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = WorkloadSpec.model_validate({"trace": {"file": "t.jsonl", "format": form}})
        return cached_by(workload_of(spec, PIPELINE, folder))

    def test_mooncake_blocks(self, tmp_path: Path) -> None:
        row = {"timestamp": 0, "input_length": 1200, "output_length": 4, "hash_ids": [5, 6, 7]}
        later = row | {"timestamp": 9000, "hash_ids": [5, 6, 8]}
        other = row | {"timestamp": 18000, "hash_ids": [9, 6, 7]}
        assert self.play(tmp_path, "mooncake", row, later, other) == [0, 1024, 0]

    def test_a_conversation_goes_on(self, tmp_path: Path) -> None:
        first = {"arrival_s": 0, "query_tokens": 64, "output_tokens": 33}
        second = {"arrival_s": 9, "query_tokens": 120, "output_tokens": 8, "continues": 1}
        third = {"arrival_s": 18, "query_tokens": 200, "output_tokens": 8, "continues": 2}
        # The last token that was sampled has no KV: 64 + 32 of 97, and 120 + 7 of 128.
        assert self.play(tmp_path, "own", first, second, third) == [0, 96, 112]

    def test_named_prompts(self, tmp_path: Path) -> None:
        rows = [
            {"arrival_s": 9 * n, "query_tokens": 65, "output_tokens": 3, "prompt": name}
            for n, name in enumerate("aba")
        ]
        assert self.play(tmp_path, "own", *rows) == [0, 0, 64]

    def test_replicates_keep_the_rows(self, tmp_path: Path) -> None:
        rows = [
            {"arrival_s": n, "query_tokens": 65 + n, "output_tokens": 3, "prompt": str(n)}
            for n in range(9)
        ]
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = WorkloadSpec.model_validate({"trace": {"file": "t.jsonl", "format": "own"}})
        zero, one = (workload_of(spec, PIPELINE, tmp_path, n) for n in (0, 1))
        assert zero == one


class TestOtherEngines:
    def test_a_serial_engine_knows_its_last_text(self) -> None:
        texts = [(TextPart("s", 40), TextPart(name, 24)) for name in "aab"]
        requests = [
            RequestShape({query("model"): 64}, {"model": 8}, "length", parts={query("model"): own})
            for own in texts
        ]
        engines = {"model": SerialSetup(fixed_profile())}
        lines = simulate(PIPELINE, Schedule(), engines, Workload(requests))
        assert [line.spans[0].cached_tokens for line in lines] == [0, 63, 40]

    def test_an_endpoint_that_caches_is_refused(self) -> None:
        keys = {"kind": "endpoint", "ttft_s": 1, "itl_s": 0.1}
        caching = EndpointSpec.model_validate(keys | {"prefix_caching": True})
        workload = drawn(prompts={"distinct": 3})
        with pytest.raises(WorkloadError, match="prefix_caching of an endpoint finds no prompts"):
            cached_by(workload, caching)
        assert not any(cached_by(workload, EndpointSpec.model_validate(keys)))


@pytest.mark.parametrize(
    ("engine", "prompts", "said"),
    [
        ({"prefix_caching": False}, {"distinct": 3}, "workload.prompts: no engine has a prefix"),
        ({"kv_blocks": None}, {"distinct": 3}, "workload.prompts: no engine has a prefix cache"),
        ({}, {}, "workload.prompts: give distinct, system_tokens or both"),
        ({}, {"distinct": 0}, "workload.prompts.distinct: Input should be"),
    ],
)
def test_what_would_have_no_effect_is_told(
    tmp_path: Path, engine: dict[str, Any], prompts: dict[str, Any], said: str
) -> None:
    scenario = {
        "name": "x",
        "pipeline": {"single": "model"},
        "engines": {"model": ENGINE | engine},
        "workload": {"requests": 4, "output_tokens": {"model": 8}, "prompts": prompts},
    }
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(scenario))
    with pytest.raises(InputError, match=said) as caught:
        CliRunner().invoke(app, ["simulate", str(path)], catch_exceptions=False)
    assert "\n" not in str(caught.value)


@given(
    st.lists(st.integers(0, 9), max_size=5), st.integers(0, 30), st.integers(0, 30), st.booleans()
)
def test_no_token_is_lost(lengths: list[int], start: int, tokens: int, has_other: bool) -> None:
    parts = tuple(TextPart(str(n), length) for n, length in enumerate(lengths))
    segment = Segment("query/a", start, start + tokens)
    others = [Segment("b", 3, 9)] if has_other else []
    found = list(with_common_texts([segment, *others], {"query/a": parts}))
    assert sum(one.tokens for one in found) == sum(one.tokens for one in (segment, *others))
    # What stands where: the parts' tokens one after the other, then the text's own.
    whole = [(f"shared/{part.name}", place) for part in parts for place in range(part.tokens)]
    whole += [("query/a", place) for place in range(len(whole), start + tokens)]
    told = [(one.source, place) for one in found for place in range(one.start, one.stop)]
    assert told[: segment.tokens] == whole[start : start + tokens]
