"""Measurements of others as profile files: hand-made ones in every format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from planner.cli.app import app
from profiles.catalog import load
from profiles.importers.importing import FORMATS, Picks, import_profile
from profiles.latency.endpoint import EndpointProfile, SeenCall, endpoint_of_calls
from profiles.latency.profile import LatencyProfile
from profiles.store import imported
from staircase.errors import InputError, ProfileError
from tests.support.bundles import write_bundle
from tests.support.pipes import piped

ALL = Picks()
NOBODY = imported("nobody", Path("x"))


def splitwise(folder: Path) -> Path:
    """10 + T/10 ms prefill and 20 + b + b·c/1000 ms decode, of one setup and of another."""
    lines = [
        "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel"
    ]
    for tp in (2, 4):
        for prompt, batch in ((100, 1), (200, 1), (400, 1), (100, 2), (100, 4), (100, 8)):
            prefill, context = 10 + prompt * batch / 10, prompt + 50
            decode = 20 + batch + batch * context / 1000
            lines.append(f"m,gpu,{prompt},{batch},100,{prefill},{decode},{tp}")
    path = folder / "perf_model.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def aiconfigurator(folder: Path) -> Path:
    """Prefill 5 + T/50 ms, decode 4 + b/100 + b·c/10⁵ ms; one row that does not fit."""
    lines = [
        "system,model,tp,dtype,phase,batch_size,new_tokens_per_seq,context_tokens_per_seq,latency_ms,oom"
    ]
    for batch in (1, 2, 8):
        for size in (16, 64, 512):
            prefill, decode = 5 + batch * size / 50, 4 + batch / 100 + batch * size / 1e5
            lines.append(f"gpu,who/Meta-L,1,bf16,prefill,{batch},{size},0,{prefill},0")
            lines.append(f"gpu,who/Meta-L,1,bf16,decode,{batch},1,{size},{decode},0")
    lines.append("gpu,who/Meta-L,1,bf16,decode,64,1,512,9999,1")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def llmservingsim(folder: Path) -> Path:
    """One layer: 10 + n µs of each kernel, n µs of head, attention 20 + n·k/100 µs."""
    return write_bundle(
        folder, lambda n: 10 + n, lambda n: n, lambda c, k, n, d: 20 + (c * k + n * d) / 100
    )


def moments(mean: float, deviation: float) -> dict[str, float]:
    return {"mean": mean, "std_dev": deviation, "count": 9}


VLLM: dict[str, Any] = {
    "model_id": "m",
    "completed": 9,
    "mean_ttft_ms": 100,
    "std_ttft_ms": 50,
    "mean_tpot_ms": 20,
    "std_tpot_ms": 2,
    "mean_itl_ms": 40,
    "std_itl_ms": 4,
}
# Each piece holds two tokens, so gaps are twice the time of a token. The fourth call failed.
DETAILED = VLLM | {
    "ttfts": [0.1, 0.2, 0.3, 0],
    "itls": [[0.02, 0.02], [0.02, 0.02], [0.04, 0.04], []],
    "input_lens": [100, 200, 300, 50],
    "output_lens": [5, 5, 5, 0],
    "errors": ["", "", "", "refused"],
}
GUIDELLM: dict[str, Any] = {
    "benchmarks": [
        {
            "metrics": {
                "time_to_first_token_ms": {"successful": moments(100, 50)},
                "inter_token_latency_ms": {"successful": moments(20, 2)},
                "time_per_output_token_ms": {"successful": moments(30, 3)},
            }
        }
    ]
}
AIPERF: dict[str, Any] = {
    "time_to_first_token": {"unit": "ms", "avg": 100, "std": 50},
    "inter_token_latency": {"unit": "ms", "avg": 20, "std": 2},
    "inter_chunk_latency": {"unit": "ms", "avg": 40, "std": 4},
    "request_count": {"unit": "requests", "avg": 9.0},
    "input_config": {"models": {"items": [{"name": "m"}]}},
}


def aiperf_line(prompt: int, ttft_ms: float, itl_us: float) -> str:
    metrics = {
        "input_sequence_length": {"value": prompt, "unit": "tokens"},
        "output_sequence_length": {"value": 5, "unit": "tokens"},
        "time_to_first_token": {"value": ttft_ms, "unit": "ms"},
        "inter_token_latency": {"value": itl_us, "unit": "us"},
    }
    return json.dumps({"metadata": {}, "metrics": metrics})


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def endpoint(form: str, path: Path, picks: Picks = ALL) -> EndpointProfile:
    found = import_profile(form, path, picks)
    assert isinstance(found, EndpointProfile)
    return found


def latency(form: str, path: Path, picks: Picks = ALL) -> LatencyProfile:
    found = import_profile(form, path, picks)
    assert isinstance(found, LatencyProfile)
    return found


class TestIterations:
    def test_splitwise(self, tmp_path: Path) -> None:
        found = latency("splitwise", splitwise(tmp_path), Picks(tp=4))
        (name, engine) = next(iter(found.engines.items()))
        assert (len(found.engines), name) == (1, "m-gpu-tp4")
        assert engine.prefill_s(800, 0) == pytest.approx(0.090, rel=0.01)
        assert engine.decode_s(4, 4 * 100) == pytest.approx(0.0244, rel=0.01)
        assert found.provenance.settings["source"] == "Splitwise"

    def test_aiconfigurator(self, tmp_path: Path) -> None:
        engine = latency("aiconfigurator", aiconfigurator(tmp_path)).engines["L-gpu-tp1"]
        assert engine.prefill_s(2048, 0) == pytest.approx(0.04596, rel=0.01)
        assert engine.decode_s(8, 8 * 256) == pytest.approx(0.0041, rel=0.01)
        assert (engine.measured_range.new_tokens, engine.measured_range.batch) == (8 * 512, 8)

    def test_llmservingsim(self, tmp_path: Path) -> None:
        picks = Picks(layers=4, overhead_s=0.001)
        (engine,) = latency("llmservingsim", llmservingsim(tmp_path), picks).engines.values()
        # Overhead; two kernels once, 4 layers of seven, one of them twice; head; attention.
        decode_us = 1000 + 34 * (10 + 16) + 2 * 16 + 4 * (20 + 16 * 64 / 100)
        assert engine.decode_s(16, 16 * 64) == pytest.approx(decode_us / 1e6, rel=0.01)
        prefill_us = 1000 + 34 * (10 + 64) + 2 + 4 * 20
        assert engine.prefill_s(64, 0) == pytest.approx(prefill_us / 1e6, rel=0.05)

    def test_what_a_known_model_has_need_not_be_said(self, tmp_path: Path) -> None:
        folder = llmservingsim(tmp_path)
        named = latency("llmservingsim", folder, Picks(model="Llama-3.1-8B"))
        (engine,) = latency("llmservingsim", folder, Picks(layers=32)).engines.values()
        assert named["Llama-3.1-8B"] == engine


class TestEndpoints:
    @pytest.mark.parametrize(
        ("form", "name", "content"),
        [
            ("vllm", "r.json", VLLM),
            ("aiperf", "profile_export_aiperf.json", AIPERF),
            ("guidellm", "g.json", GUIDELLM),
        ],
    )
    def test_one_endpoint_in_the_words_of_three_tools(
        self, tmp_path: Path, form: str, name: str, content: object
    ) -> None:
        found = endpoint(form, write(tmp_path, name, content))
        assert (found.ttft_s, found.itl_s, found.requests) == (0.1, 0.02, 9)
        assert found.ttft_per_token_s == 0
        rng = np.random.default_rng(0)
        normal = rng.standard_normal(200_000)
        draws = 0.1 * np.exp(found.spread * normal - found.spread**2 / 2)
        assert (draws.mean(), draws.std()) == pytest.approx((0.1, 0.05), rel=0.02)

    @pytest.mark.parametrize("form", ["vllm", "aiperf"])
    def test_call_by_call(self, tmp_path: Path, form: str) -> None:
        lines = [aiperf_line(100, 100, 10_000), aiperf_line(200, 200, 10_000)]
        lines += [aiperf_line(300, 300, 20_000), '{"metrics": {}, "error": {"type": "x"}}']
        path = (
            write(tmp_path, "r.json", DETAILED)
            if form == "vllm"
            else write(tmp_path, "profile_export.jsonl", "\n".join(lines))
        )
        found = endpoint(form, path)
        assert found.itl_s == pytest.approx(0.16 / 12)
        assert found.ttft_per_token_s == pytest.approx(0.001)
        assert found.ttft_s == pytest.approx(0, abs=1e-5)
        assert found.spread == pytest.approx(0, abs=1e-6)
        assert found.itl_spread == pytest.approx(np.std(np.log([1, 1, 2])))
        assert found.requests == 3

    def test_a_pipe_is_read_once(self, tmp_path: Path) -> None:
        path = write(tmp_path, "r.json", DETAILED)
        with piped(path.read_text()) as pipe:
            found, kept = endpoint("vllm", pipe), endpoint("vllm", path)
        assert replace(found, provenance=NOBODY) == replace(kept, provenance=NOBODY)

    def test_long_answers_count_for_more(self) -> None:
        calls = [SeenCall(9, 101, 0.1, 0.01), SeenCall(9, 2, 0.1, 0.03), SeenCall(9, 1, 0.1, 9)]
        found = endpoint_of_calls(calls, NOBODY)
        assert found.itl_s == pytest.approx((100 * 0.01 + 0.03) / 101)
        assert found.ttft_s == pytest.approx(0.1)

    def test_one_of_several_benchmarks(self, tmp_path: Path) -> None:
        slow = json.loads(json.dumps(GUIDELLM["benchmarks"][0]).replace("100", "300"))
        two = {"benchmarks": [*GUIDELLM["benchmarks"], slow]}
        path = write(tmp_path, "g.json", two)
        assert endpoint("guidellm", path, Picks(run=2)).ttft_s == 0.3


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


WRONG: dict[str, tuple[str, str, object, Picks, str]] = {
    "no such format": ("vidurr", "x", "", Picks(), "'vidurr' is not known; known: splitwise"),
    "a pick of another": ("vllm", "x", VLLM, Picks(layers=3), "vllm does not take --layers; it"),
    "no json": ("vllm", "x", "{", Picks(), "x: not JSON"),
    "no object": ("vllm", "x", "[]", Picks(), r"x: it is \[\], must be an object with"),
    "a key": ("vllm", "x", without(VLLM, "std_tpot_ms"), Picks(), "x: no key 'std_tpot_ms'"),
    "a word": ("vllm", "x", VLLM | {"mean_ttft_ms": "fast"}, Picks(), "mean_ttft_ms is 'fast'"),
    "below zero": ("vllm", "x", VLLM | {"mean_ttft_ms": -1}, Picks(), "must be a number, 0 or"),
    "nobody answered": ("vllm", "x", VLLM | {"completed": 0}, Picks(), "completed is 0"),
    "lists": ("vllm", "x", DETAILED | {"input_lens": [1]}, Picks(), "'input_lens' has 1 entries"),
    "one call": (
        "aiperf",
        "x.jsonl",
        aiperf_line(1, 1, 1),
        Picks(),
        "x.jsonl: 1 calls with an answer of two tokens or more",
    ),
    "a line": ("aiperf", "x.jsonl", '{"metrics": {}}', Picks(), "x.jsonl, line 1: no key 'metrics"),
    "a unit": (
        "aiperf",
        "x",
        AIPERF | {"time_to_first_token": {"unit": "h", "avg": 1, "std": 0}},
        Picks(),
        "time_to_first_token.unit is 'h', must be one of ns, us, ms",
    ),
    "which benchmark": (
        "guidellm",
        "x",
        {"benchmarks": [{}, {}]},
        Picks(),
        "holds 2 benchmarks; say which with --run",
    ),
    "no such benchmark": ("guidellm", "x", GUIDELLM, Picks(run=2), "benchmarks 1 to 1"),
    "no such setup": ("splitwise", "", "", Picks(model="n"), "holds nothing for --model n"),
    "layers": ("llmservingsim", "", "", Picks(), "how many the model has with --layers"),
    "took nothing": ("vllm", "x", VLLM | {"mean_ttft_ms": 0}, Picks(), "must be more than 0"),
    "for ever": ("vllm", "x", VLLM | {"mean_tpot_ms": float("inf")}, Picks(), "must be a number"),
    "nearly for ever": ("vllm", "x", VLLM | {"std_ttft_ms": 1e300}, Picks(), "must be a number"),
    "half a call": ("vllm", "x", VLLM | {"completed": 8.5}, Picks(), "must be a whole number"),
    "a call took nothing": (
        "vllm",
        "x",
        DETAILED | {"ttfts": [0.1, 0, 0.3, 0]},
        Picks(),
        r"ttfts\[1\] is 0, must be more than 0",
    ),
    "a call took for ever": (
        "vllm",
        "x",
        DETAILED | {"itls": [[0.02, 0.02], [float("inf"), 0.02], [0.04, 0.04], []]},
        Picks(),
        "x: itls: must be finite",
    ),
    "a line took nothing": ("aiperf", "x.jsonl", aiperf_line(1, 0, 1), Picks(), "more than 0"),
    "nobody": (
        "guidellm",
        "x",
        json.loads(json.dumps(GUIDELLM).replace('"count": 9', '"count": 0')),
        Picks(),
        "successful.count is 0, must be a number, 1 or more",
    ),
    "a unit that is an object": (
        "aiperf",
        "x",
        AIPERF | {"time_to_first_token": {"unit": {"a": 1}, "avg": 1, "std": 0}},
        Picks(),
        "time_to_first_token.unit is {'a': 1}, must be one of ns",
    ),
    "a deep file": ("vllm", "x", "[" * 3000, Picks(), "x: not JSON"),
    "half a pair": ("vllm", "x", VLLM | {"model_id": "\ud800"}, Picks(), "x: a lone surrogate"),
    "a phase": (
        "aiconfigurator",
        "",
        "prefill",
        Picks(),
        "line 2: phase is 'warm', must be",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    form, name, content, picks, said = WRONG[case]
    makers = {f.__name__: f for f in (splitwise, aiconfigurator, llmservingsim)}
    path = write(tmp_path, name, content) if name else makers[form](tmp_path)
    if content == "prefill":
        path.write_text(path.read_text().replace(",prefill,", ",warm,", 1))
    with pytest.raises(InputError, match=said) as error:
        import_profile(form, path, picks)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "dense",
            "qkv_proj,4,14\n",
            "",
            "dense.csv: layer 'qkv_proj' has no row with tokens 4",
        ),
        ("dense", "qkv_proj,4,14\n", "qkv_proj,4,0\n", "time_us is 0, must be more than 0"),
        (
            "per_sequence",
            "lm_head,4,4\n",
            "lm_head,4,inf\n",
            "time_us is inf, must be",
        ),
        ("attention", "0,0,1,16,", "0,0,1.5,16,", "n_decode is 1.5, must be a whole number"),
    ],
)
def test_kernels_need_every_size_and_some_time(
    tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    path = llmservingsim(tmp_path) / f"{file}.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ProfileError, match=said) as error:
        import_profile("llmservingsim", tmp_path, Picks(layers=4))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column", ["prefill_chunk", "n_decode"])
def test_kernels_need_prefills_and_decodes(tmp_path: Path, column: str) -> None:
    path = llmservingsim(tmp_path) / "attention.csv"
    place = path.read_text().splitlines()[0].split(",").index(column)
    header, *rows = path.read_text().splitlines()
    kept = [row for row in rows if row.split(",")[place] == "0"]
    path.write_text("\n".join([header, *kept]))
    with pytest.raises(ProfileError, match=f"no row has a {column} above 0"):
        import_profile("llmservingsim", tmp_path, Picks(layers=4))


class TestCommand:
    def test_writes_a_profile(self, tmp_path: Path) -> None:
        path, out = write(tmp_path, "r.json", VLLM), tmp_path / "profile.json"
        words = ["profile", "import", "vllm", str(path), "--out", str(out)]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        found = load(out)
        assert isinstance(found, EndpointProfile)
        assert found.ttft_s == 0.1
        assert found.provenance.settings["model"] == "m"

    def test_writes_nothing_of_what_is_wrong(self, tmp_path: Path) -> None:
        path = write(tmp_path, "r.json", without(VLLM, "mean_tpot_ms"))
        words = ["profile", "import", "vllm", str(path), "--out", str(tmp_path / "profile.json")]
        with pytest.raises(ProfileError, match="no key 'mean_tpot_ms'"):
            CliRunner().invoke(app, words, catch_exceptions=False)
        assert list(tmp_path.iterdir()) == [path]

    def test_says_all_formats(self) -> None:
        done = CliRunner().invoke(app, ["profile", "import", "--help"], env={"COLUMNS": "200"})
        assert all(form in done.output for form in FORMATS)
