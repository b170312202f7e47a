"""The referee: recorded runs that the tests write themselves, and those beside the checkout."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from benchmarks.referee.__main__ import WIDTH, referee
from benchmarks.referee.engine_arguments import is_async_by_default
from benchmarks.referee.finding import find_runs
from benchmarks.referee.judging import Judgement, judge, play
from benchmarks.referee.own_runs import read_own_run
from benchmarks.referee.recorded import Figure, Floats, RecordedRun
from benchmarks.referee.request_files import read_requests
from profiles.hardware.hosts import HOSTS
from staircase.errors import InputError

DATA = Path(__file__).parents[2] / "shared" / "data"
NEEDS_DATA = pytest.mark.skipif(
    not (DATA / "llmservingsim").is_dir(), reason="public measurements are not beside the checkout"
)
CONSTANT_S = 2e-3
ENGINE: dict[str, Any] = {
    "model": "Qwen3-0.6B",
    "hardware": "H100-SXM",
    "engine": "vllm",
    "version": "0.19.0",
    "arguments": {"max_num_seqs": 16, "max_num_batched_tokens": 512, "num_gpu_blocks": 20_000},
}
STAGE: dict[str, Any] = {
    "requests": 30,
    "query_tokens": 200,
    "output_tokens": {"mean": 40, "sigma": 0.5},
}
ANY = {"ttft_ms": {"mean": 1.0}}
Row = dict[str, Any]
# Arrival, prompt and output tokens.
Asked = tuple[float, int, int]


def requests(count: int = 30) -> list[Asked]:
    draws = np.random.default_rng(0)
    arrivals = np.cumsum(draws.exponential(0.02, count)).tolist()
    prompts, outputs = draws.integers(50, 900, count), draws.integers(2, 60, count)
    return list(zip(arrivals, prompts.tolist(), outputs.tolist(), strict=True))


def write_run(folder: Path, stages: Sequence[dict[str, Any]], **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**ENGINE, **changes, "stages": list(stages)}))
    return path


def rows_of(asked: Sequence[Asked], ttft_s: Floats, e2e_s: Floats) -> list[Row]:
    keys = ("arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s")
    times = zip(ttft_s.tolist(), e2e_s.tolist(), strict=True)
    rows = zip(asked, times, strict=True)
    return [dict(zip(keys, (*request, *own), strict=True)) for request, own in rows]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def vllm_bench(rows: Sequence[Row], **more: object) -> dict[str, Any]:
    """As ``vllm bench serve --save-result --save-detailed`` writes it."""
    gaps = [
        [(row["e2e_s"] - row["ttft_s"]) / (row["output_tokens"] - 1)] * (row["output_tokens"] - 1)
        for row in rows
    ]
    return {
        "request_rate": 50.0,
        "input_lens": [row["prompt_tokens"] for row in rows],
        "output_lens": [row["output_tokens"] for row in rows],
        "ttfts": [row["ttft_s"] for row in rows],
        "itls": gaps,
        "errors": [""] * len(rows),
        "start_times": [100 + row["arrival_s"] for row in rows],
        **more,
    }


def write_serving_sim(folder: Path, rows: Sequence[Row], **kwargs: object) -> Path:
    """A run in LLMServingSim's layout, on hardware that a roofline knows."""
    run = folder / "bench" / "examples" / "H100" / "tiny" / "vllm"
    run.mkdir(parents=True)
    limits = {"max_num_seqs": 16, "max_num_batched_tokens": 512, "tensor_parallel_size": 1}
    meta = {
        "vllm_version": "0.19.0",
        "engine_kwargs": {"model": "Qwen/Qwen3-0.6B", "dtype": "bfloat16", **limits, **kwargs},
        "kv_cache": {"num_gpu_blocks": 20_000},
    }
    (run / "meta.json").write_text(json.dumps(meta))
    lines = [
        {
            "input_toks": row["prompt_tokens"],
            "output_toks": row["output_tokens"],
            "queued_ts": 7 + row["arrival_s"],
            "first_token_ts": 7 + row["arrival_s"] + row["ttft_s"],
            "last_token_ts": 7 + row["arrival_s"] + row["e2e_s"],
        }
        for row in rows
    ]
    write_lines(run / "requests.jsonl", lines)
    return run


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """What the simulator does with ``requests``, where every iteration takes ``CONSTANT_S`` more,
    as if it had been recorded. Each writes two tokens or more."""
    folder, asked = tmp_path_factory.mktemp("truth"), requests()
    write_csv(folder / "asked.csv", rows_of(asked, np.ones(len(asked)), np.ones(len(asked))))
    run = read_own_run(write_run(folder, [{"file": "asked.csv"}]))
    seen = play(run.with_constant(CONSTANT_S), run.stages[0])
    return rows_of(asked, seen["ttft_s"], seen["e2e_s"])


def printed(data: Path) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=WIDTH)
    code = referee(data, console, HOSTS["none"])
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def only(data: Path) -> RecordedRun:
    (found,) = find_runs(data)
    return found.read()


def check_constant_is_found(run: RecordedRun) -> None:
    first, *_, last = judge(run)
    assert first.constant_s is None
    assert all(error < -0.05 for error in first.errors.values())
    assert last.constant_s == pytest.approx(CONSTANT_S, rel=0.01)
    assert all(abs(error) < 0.01 for error in last.errors.values())


class TestTheConstantIsFound:
    """In every layout the recorded run is the same, and its constant is known."""

    def test_of_rows_of_ones_own(self, tmp_path: Path, rows: list[Row]) -> None:
        write_run(tmp_path / "csv", [{"file": "seen.csv"}])
        write_csv(tmp_path / "csv" / "seen.csv", rows)
        check_constant_is_found(only(tmp_path))

    def test_of_lines_of_ones_own(self, tmp_path: Path, rows: list[Row]) -> None:
        write_run(tmp_path, [{"file": "seen.jsonl"}])
        write_lines(tmp_path / "seen.jsonl", rows)
        check_constant_is_found(only(tmp_path))

    def test_of_vllms_results(self, tmp_path: Path, rows: list[Row]) -> None:
        write_run(tmp_path, [{"file": "seen.json"}])
        (tmp_path / "seen.json").write_text(json.dumps(vllm_bench(rows)))
        check_constant_is_found(only(tmp_path))

    def test_of_llmservingsims_runs(self, tmp_path: Path, rows: list[Row]) -> None:
        write_serving_sim(tmp_path, rows)
        check_constant_is_found(only(tmp_path))

    def test_of_stages_of_which_only_means_are_known(self, tmp_path: Path) -> None:
        """One of three stages is fitted, two are judged."""
        stages = [{**STAGE, "rate_per_s": rate, "measured": ANY} for rate in (5.0, 10.0, 20.0)]
        truth = read_own_run(write_run(tmp_path, stages))
        for given, stage in zip(stages, truth.stages, strict=True):
            seen = play(truth.with_constant(CONSTANT_S), stage)
            given["measured"] = {
                "itl_ms": {"mean": 1e3 * Figure("itl_s", "mean").of(seen["itl_s"])},
                "ttft_s": {"p99": Figure("ttft_s", "p99").of(seen["ttft_s"])},
            }
        run = read_own_run(write_run(tmp_path, stages))
        *_, last = judge(run)
        assert last.constant_s == pytest.approx(CONSTANT_S, rel=0.01)
        assert {row.part for row in last.rows} == {"stage 2", "stage 3"}
        assert len(last.rows) == 4
        assert all(abs(row.error) < 0.02 for row in last.rows)


class TestWhatIsJudged:
    def test_the_first_third_is_not(self, tmp_path: Path, rows: list[Row]) -> None:
        """What happened to the first ten does not count for the others, but it is fitted to."""
        write_run(tmp_path, [{"file": "seen.jsonl"}])
        slow = [
            {**row, "e2e_s": row["ttft_s"] + 3 * (row["e2e_s"] - row["ttft_s"])} for row in rows
        ]
        write_lines(tmp_path / "seen.jsonl", [*slow[:10], *rows[10:]])
        *_, last = judge(only(tmp_path))
        assert last.constant_s is not None
        assert last.constant_s > 2 * CONSTANT_S
        real = np.mean([row["ttft_s"] for row in rows[10:]])
        assert [row.measured_s for row in last.rows if row.figure == ("ttft_s", "mean")] == [
            pytest.approx(real)
        ]

    def test_the_constant_is_not_below_0(self, tmp_path: Path, rows: list[Row]) -> None:
        write_run(tmp_path, [{"file": "seen.jsonl"}])
        fast = [{**row, "e2e_s": row["ttft_s"] + 1e-6} for row in rows]
        write_lines(tmp_path / "seen.jsonl", fast)
        assert [one.constant_s for one in judge(only(tmp_path))] == [None, 0.0, 0.0]

    def test_what_no_constant_explains_is_not_fitted(self, tmp_path: Path, rows: list[Row]) -> None:
        write_run(tmp_path, [{"file": "seen.jsonl"}])
        write_lines(tmp_path / "seen.jsonl", [{**row, "e2e_s": row["ttft_s"] + 90} for row in rows])
        assert [one.said for one in judge(only(tmp_path))] == ["nothing fitted"]
        code, said = printed(tmp_path)
        assert (code, "nothing to fit to and judge" in said) == (0, True)

    def test_peers_stand_beside_it(self, tmp_path: Path) -> None:
        measured = {"ttft_ms": {"mean": 50.0, "p90": 80.0}, "e2e_s": {"mean": 0.5}}
        one = {"error": {"ttft": -0.1}, "e2e_s": {"mean": 0.55}}
        stage = {**STAGE, "concurrency": 4, "measured": measured, "peers": {"Somebody": one}}
        write_run(tmp_path, [stage], published={"Other": {"tpot": 0.034}})
        code, said = printed(tmp_path)
        assert code == 0
        for words in ("45.0 (-10.0%)", "550.0 (+10.0%)", "Somebody", "Other", "TPOT +3.4%"):
            assert words in said

    def test_a_published_host_makes_it_slower(self, tmp_path: Path) -> None:
        run = read_own_run(write_run(tmp_path, [{**STAGE, "concurrency": 1, "measured": ANY}]))
        alone, hosted = (
            play(engine, run.stages[0])["itl_s"].mean()
            for engine in (run.engine, run.on(HOSTS["vLLM-0.19"]).engine)
        )
        assert hosted - alone == pytest.approx(HOSTS["vLLM-0.19"].iteration_s, rel=1e-6)


class TestRepeatingPrompts:
    def ttft_s(self, folder: Path, stage: dict[str, Any], *, caches: bool) -> float:
        arguments = {**ENGINE["arguments"], "enable_prefix_caching": caches}
        run = read_own_run(write_run(folder, [stage], arguments=arguments))
        return float(play(run.engine, run.stages[0])["ttft_s"].mean())

    def test_are_found_by_name(self, tmp_path: Path) -> None:
        asked = [(float(n), 2000, 4) for n in range(12)]
        rows = rows_of(asked, np.ones(12), np.ones(12))
        write_lines(tmp_path / "own.jsonl", rows)
        write_lines(tmp_path / "same.jsonl", [{**row, "prompt": "p"} for row in rows])
        own = self.ttft_s(tmp_path, {"file": "own.jsonl"}, caches=True)
        same = self.ttft_s(tmp_path, {"file": "same.jsonl"}, caches=True)
        assert same < 0.5 * own
        assert self.ttft_s(tmp_path, {"file": "same.jsonl"}, caches=False) == own
        begun = {"file": "own.jsonl", "system_tokens": 1600}
        assert same < self.ttft_s(tmp_path, begun, caches=True) < own

    def test_are_drawn(self, tmp_path: Path) -> None:
        stage = {**STAGE, "query_tokens": 2000, "concurrency": 1, "measured": ANY}
        own = self.ttft_s(tmp_path, stage, caches=True)
        few = {**stage, "prompts": {"distinct": 3, "system_tokens": 16}}
        assert self.ttft_s(tmp_path, few, caches=True) < 0.5 * own
        assert self.ttft_s(tmp_path, few, caches=False) >= own


class TestVllmsResults:
    def test_the_next_is_sent_when_one_is_over(self, tmp_path: Path, rows: list[Row]) -> None:
        path = tmp_path / "seen.json"
        path.write_text(json.dumps(vllm_bench(rows, request_rate="inf", max_concurrency=4)))
        workload = read_requests(path).workload
        assert (workload.concurrency, workload.arrivals_ps) == (4, None)

    def test_all_are_sent_at_once(self, tmp_path: Path, rows: list[Row]) -> None:
        path = tmp_path / "seen.json"
        path.write_text(json.dumps(vllm_bench(rows, request_rate="inf", start_times=None)))
        assert read_requests(path).workload.concurrency == len(rows)

    def test_those_that_failed_are_left_out(self, tmp_path: Path, rows: list[Row]) -> None:
        path, bench = tmp_path / "seen.json", vllm_bench(rows)
        bench["errors"][3] = "timed out"
        path.write_text(json.dumps(bench))
        seen = read_requests(path)
        assert seen.remarks == ("1 failed requests left out",)
        assert len(seen.workload.requests) == len(seen.columns["ttft_s"]) == len(rows) - 1

    def test_endless_texts_are_refused(self, tmp_path: Path, rows: list[Row]) -> None:
        path = tmp_path / "seen.json"
        path.write_text(json.dumps(vllm_bench([{**rows[0], "prompt_tokens": 10**8}])))
        with pytest.raises(
            InputError, match="a text has 100000000 tokens, must have 1 to 10000000"
        ):
            read_requests(path)

    def test_unknown_arrivals_are_refused(self, tmp_path: Path, rows: list[Row]) -> None:
        path = tmp_path / "seen.json"
        path.write_text(json.dumps(vllm_bench(rows, start_times=None)))
        with pytest.raises(InputError, match=r"seen.json: does not say when requests were sent"):
            read_requests(path)


WRONG_KEYS = [
    ({"modell": "x"}, "unknown key 'modell'; did you mean 'model'?"),
    ({"hardware": "H10-SXM"}, "hardware 'H10-SXM' is not known; did you mean 'H100-SXM'?"),
    ({"model": "Llama-9"}, "model 'Llama-9' is neither a config.json nor one of"),
    ({"engine": "tgi"}, "engine: Input should be 'vllm', 'sglang' or 'tensorrt-llm'"),
    ({"precision": "fp8"}, "precision is fp8, but the weights of Qwen3-0.6B have 16 bits"),
    ({"arguments": {"max_num_seqs": 4}}, "arguments.max_num_batched_tokens: Field required"),
    ({"arguments": {"max_seqs": 4}}, "arguments.unknown key 'max_seqs'"),
    ({"kernels": "nowhere"}, "nowhere"),
    ({"link_latency_s": 1.0}, "link_latency_s needs kernels"),
    ({"stages": []}, "stages: List should have at least 1 item"),
    ({"stages": [{"file": "no.csv"}]}, "no.csv: no such file"),
    ({"stages": [{"file": "no.csv", "requests": 3}]}, "requests must not be given beside file"),
    ({"stages": [STAGE]}, "stages.0: measured is missing: give file, or"),
    ({"stages": [{**STAGE, "measured": ANY}]}, "stages.0: give rate_per_s or concurrency"),
    (
        {"stages": [{**STAGE, "measured": {"ttft_ms": {"p80": 1.0}}}]},
        "stages.0.measured.ttft_ms: unknown key 'p80'; did you mean 'p90'?",
    ),
    (
        {"stages": [{**STAGE, "concurrency": 1, "measured": {**ANY, "ttft_s": {"mean": 1.0}}}]},
        "stages.0.measured: give ttft_s or ttft_ms, not both",
    ),
    (
        {"arguments": {**ENGINE["arguments"], "num_gpu_blocks": 9}},
        "needs KV for 224 tokens, a replica has 9 blocks of 16",
    ),
]


class TestRunsThatCannotBePlayed:
    @pytest.mark.parametrize(("changes", "said"), WRONG_KEYS)
    def test_are_told_in_a_line(self, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        content = {**ENGINE, "stages": [{**STAGE, "concurrency": 2, "measured": ANY}], **changes}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(InputError) as caught:
            judge(read_own_run(path))
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_and_the_others_go_on(self, tmp_path: Path, rows: list[Row]) -> None:
        write_run(tmp_path / "b", [{"file": "seen.jsonl"}])
        write_lines(tmp_path / "b" / "seen.jsonl", rows)
        write_run(tmp_path / "a", [{"file": "seen.jsonl"}])
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "seen.json").write_text(json.dumps(vllm_bench(rows)))
        code, said = printed(tmp_path)
        assert code == 0
        assert "b: Qwen3-0.6B tp1 on H100-SXM, vllm 0.19.0; by roofline" in said
        assert "a/seen.jsonl: no such file" in said
        assert "c/seen.json: no run.yaml beside it" in said

    def test_exit_codes(self, tmp_path: Path) -> None:
        assert printed(tmp_path)[0] == 2
        write_run(tmp_path, [{"file": "seen.jsonl"}])
        assert printed(tmp_path)[0] == 1

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"ttft_s": -1.0}, "line 1: ttft_s: Input should be greater than 0"),
            ({"e2e_s": 1e-9}, "line 1: e2e_s is 1e-09, must be ttft_s or more"),
            ({"ttft_ms": 1.0}, "line 1: unknown key 'ttft_ms'; did you mean 'ttft_s'?"),
            ({"prompt_tokens": 1.5}, "line 1: prompt_tokens: Input should be a valid integer"),
        ],
    )
    def test_wrong_rows(self, tmp_path: Path, rows: list[Row], row: Row, said: str) -> None:
        write_lines(tmp_path / "seen.jsonl", [{**rows[0], **row}])
        with pytest.raises(InputError, match=said):
            read_requests(tmp_path / "seen.jsonl")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "must hold objects"),
            ("[1]", "must hold objects"),
            ('{"ttft_s": 1}', "no key|Field required|required"),
            ('{"request_throughput": 1.0}', "--save-detailed"),
        ],
    )
    def test_files_that_are_none(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "seen.json").write_text(text)
        with pytest.raises(InputError, match=said):
            read_requests(tmp_path / "seen.json")

    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            ({"model": "a/b"}, "model 'a/b' is neither"),
            ({"kv_cache_dtype": "fp8"}, "engine_kwargs.kv_cache_dtype is 'fp8', which is not"),
            ({"max_num_seqs": None}, "engine_kwargs.max_num_seqs: Field required"),
            ({"data_parallel_size": 2}, "data_parallel must not be given beside hardware"),
        ],
    )
    def test_llmservingsims(
        self, tmp_path: Path, rows: list[Row], kwargs: dict[str, Any], said: str
    ) -> None:
        write_serving_sim(tmp_path, rows, **kwargs)
        with pytest.raises(InputError, match=said):
            only(tmp_path)

    def test_a_link_that_is_not_told(self, tmp_path: Path, rows: list[Row]) -> None:
        run = write_serving_sim(tmp_path, rows, tensor_parallel_size=2)
        bundle = tmp_path / "profiler" / "perf" / "H100" / "Qwen" / "Qwen3-0.6B" / "bf16" / "tp2"
        bundle.mkdir(parents=True)
        (run.parent / "config.json").write_text(json.dumps({"link_bw": 16}))
        with pytest.raises(InputError, match=r"config.json: no key 'link_latency'"):
            only(tmp_path)
        (run.parent / "config.json").write_text(json.dumps({"link_bw": 16, "link_latency": 20}))
        with pytest.raises(InputError, match=r"tp2/dense.csv: no such file"):
            only(tmp_path)


class TestEngines:
    def limits(self, folder: Path, **changes: object) -> Any:
        stage = {**STAGE, "concurrency": 1, "measured": ANY}
        return read_own_run(write_run(folder, [stage], **changes)).engine.limits

    def test_vllm_schedules_asynchronously_since_0_14(self, tmp_path: Path) -> None:
        assert [is_async_by_default(v) for v in ("0.13.0", "v0.14.1", "1.0", "main")] == [
            *(False, True, True, True)
        ]
        assert not self.limits(tmp_path, version="0.9.2").async_scheduling
        told = {**ENGINE["arguments"], "async_scheduling": False}
        assert not self.limits(tmp_path, arguments=told).async_scheduling

    def test_sglang_prefills_first_and_caches_by_page(self, tmp_path: Path) -> None:
        arguments = {
            "max_running_requests": 8,
            "chunked_prefill_size": 256,
            "max_total_tokens": 5000,
        }
        limits = self.limits(tmp_path, engine="sglang", arguments=arguments)
        assert (limits.blocks, limits.block_tokens, limits.prefill_first) == (5000, 1, True)

    def test_tensorrt_does_not_cut_prompts(self, tmp_path: Path) -> None:
        arguments = {"max_batch_size": 8, "max_num_tokens": 256, "max_tokens": 6400}
        limits = self.limits(tmp_path, engine="tensorrt-llm", arguments=arguments)
        assert (limits.blocks, limits.block_tokens) == (200, 32)
        assert not limits.enable_chunked_prefill

    def test_untold_blocks_are_as_many_as_fit(self, tmp_path: Path) -> None:
        arguments = {"max_num_seqs": 16, "max_num_batched_tokens": 512}
        most = self.limits(tmp_path, arguments=arguments).blocks
        half = self.limits(tmp_path, arguments={**arguments, "gpu_memory_utilization": 0.45})
        assert half.blocks < 0.5 * most


def test_the_example_of_the_docs_can_be_played(tmp_path: Path, rows: list[Row]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()
    (tmp_path / "run.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "bench.json").write_text(json.dumps(vllm_bench(rows)))
    code, said = printed(tmp_path)
    assert code == 0
    assert "Somebody" in said


@NEEDS_DATA
def test_recorded_runs_beside_the_checkout() -> None:
    runs = [found.read() for found in find_runs(DATA)]
    (two,) = (run for run in runs if "Qwen3-32B tp2" in run.name)
    check(judge(two)[0], ttft=0.05, tpot=0.03, e2e=0.03)
    (eight,) = (run for run in runs if "Llama-3.1-8B tp1" in run.name)
    check(judge(eight)[-1], ttft=0.05, tpot=0.02, e2e=0.02)


def check(judgement: Judgement, **most: float) -> None:
    for metric, error in judgement.errors.items():
        assert abs(error) < most[metric.removesuffix("_s")], metric
