"""Measurements of others: hand-made rows, and the public files where they lie beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.importers import BATCH, PROMPT, grid_errors
from profiles.hardware.hosts import Host
from profiles.importers.deployment import Deployment
from profiles.importers.kernels import attention_grid
from profiles.importers.splitwise import Setup, read_splitwise
from profiles.importers.vidur import ATTENTION, EACH_LAYER, ONCE, SIZES, WORKERS, read_vidur
from profiles.surface import fit_surface
from simulator.core.cost import at, attention_ps, cost_of_kernels, mixed_attention_ps, with_host
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from simulator.forecast import forecast_simulated
from staircase import RequestShape, Schedule, Workload, single
from staircase.errors import ProfileError, ScenarioError
from staircase.prompt import query
from staircase.spec.scenario import Scenario, load_scenario

DATA = Path(__file__).parents[2] / "shared" / "data"
A30 = DATA / "vidur_opt_scheduler" / "a30" / "Qwen-2-7B"
PERF_MODEL = DATA / "splitwise-sim" / "perf_model.csv"

HEADER = "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel"
SETUP = Setup("m", "gpu", 2)
HOST = Host("own", 0.001, 0.0, "")


class TestSurface:
    def test_meets_measurements_and_stays_near_the_form_elsewhere(self) -> None:
        sizes = np.array([1.0, 10.0, 100.0, 1000.0])
        seconds = (2 + 3 * sizes) * np.array([1.1, 0.9, 1.1, 0.9])
        surface = fit_surface(
            lambda x: np.stack([np.ones(len(x)), x[:, 0]], axis=1), sizes[:, None].tolist(), seconds
        )
        assert surface(sizes[:, None]) == pytest.approx(seconds, rel=1e-3)
        assert surface.at(1e6) == pytest.approx(3e6, rel=0.15)


class TestSplitwise:
    def write(self, folder: Path, *more: str) -> Path:
        """Two repetitions each of 10 + T/10 ms prefill and 20 + b + b·c/1000 ms decode."""
        lines = [HEADER]
        for prompt, batch in ((100, 1), (200, 1), (400, 1), (100, 2), (100, 4), (100, 8)):
            prefill, context = 10 + prompt * batch / 10, prompt + 50
            decode = 20 + batch + batch * context / 1000
            for factor in (0.99, 1.01):
                times = f"{prefill * factor},{decode * factor}"
                lines.append(f"m,gpu,{prompt},{batch},100,{times},2")
        path = folder / "perf_model.csv"
        path.write_text("\n".join([*lines, *more]) + "\n")
        return path

    def test_between_and_beyond_its_points(self, tmp_path: Path) -> None:
        profile = read_splitwise(self.write(tmp_path))[SETUP]
        assert profile.left_out == ()
        assert profile.prefill_s(100, 4) == pytest.approx(0.050, rel=1e-3)
        assert profile.prefill_s(300, 2) == pytest.approx(0.070, rel=0.01)
        assert profile.decode_s(16, 1000) == pytest.approx(0.052, rel=0.01)

    def test_leaves_out_what_cannot_be(self, tmp_path: Path) -> None:
        profile = read_splitwise(self.write(tmp_path, "m,gpu,100,16,100,20,30,2"))[SETUP]
        assert [(point.prompt, point.batch) for point in profile.left_out] == [(100, 16)]
        assert profile.prefill_s(100, 16) == pytest.approx(0.170, rel=0.01)

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("m,gpu,100,1,100,fast,20,2", "line 14: prompt_time is 'fast', must be a number"),
            ("m,gpu,100,1,100,nan,20,2", "line 14: prompt_time is nan, must be a number"),
            ("m,gpu,100,1.5,100,9,20,2", "line 14: batch_size is 1.5, must be a whole number"),
            ("m,gpu,100,1,100,0,20,2", "line 14: prompt_time is 0, must be more than 0"),
            ("m,gpu,100,1,100,9,20,4", "1 points of Setup.*tensor_parallel=4"),
        ],
    )
    def test_what_is_wrong_is_told(self, tmp_path: Path, line: str, said: str) -> None:
        with pytest.raises(ProfileError, match=rf"perf_model.csv.*{said}"):
            read_splitwise(self.write(tmp_path, line))

    def test_an_empty_file_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "perf_model.csv"
        path.write_text(HEADER + "\n")
        with pytest.raises(ProfileError, match="line 2: no row"):
            read_splitwise(path)


def test_gaps_of_attention_are_filled_between_measured_sizes() -> None:
    # Two grids of their own, as LLMServingSim profiles them: chunks 16 and 64, and chunk 32.
    points: dict[tuple[float, ...], float] = {
        (c, k, 0.0, 0.0): c + k for c in (16.0, 64.0) for k in (0.0, 64.0)
    }
    points |= {(32.0, 32.0, 0.0, 0.0): 64.0, (0.0, 0.0, 1.0, 16.0): 5.0}
    (chunks, before, _, _), table = attention_grid(points)
    assert chunks.tolist() == [0, 16, 32, 64]
    assert before.tolist() == [0, 32, 64]
    assert table[1:, :, 0, 0].tolist() == [[16, 48, 80], [32, 64, 96], [64, 96, 128]]


def test_attention_beyond_what_was_measured_goes_on_rising() -> None:
    """A mixed grid up to 4 decoding sequences, and 8 alone."""
    points: dict[tuple[float, ...], float] = {
        (16.0, 0.0, n, 64.0): 10 + 2 * n for n in (1.0, 2.0, 4.0)
    }
    points |= {(0.0, 0.0, n, 64.0): 1 + n for n in (1.0, 2.0, 4.0, 8.0)}
    points[16.0, 0.0, 0.0, 0.0] = 10.0
    (_, _, decoding, _), table = attention_grid(points)
    assert decoding.tolist() == [0, 1, 2, 4, 8]
    assert table[1, 0, :, 1].tolist() == [10, 12, 14, 18, 26]


def write_vidur(folder: Path) -> Path:
    """Each dense kernel takes 0.01 + n/1000 ms, attention 0.1 + c·(k + c)/1000 or 0.1 + n·k/1000.

    One cell is empty, of a kernel that was not measured there.
    """
    kernels = (*ONCE, *EACH_LAYER)
    dense = [",".join(("num_tokens", WORKERS, *(f"time_stats.{name}.median" for name in kernels)))]
    for n in (1, 8, 16, 64):
        times = [str(0.01 + n / 1000)] * len(kernels)
        times[2] = "" if n == 8 else times[2]
        dense.append(",".join((str(n), "1", *times)))
    columns = (*SIZES, WORKERS, *(f"time_stats.{name}.median" for name in ATTENTION))
    attention = [",".join(columns)]
    for chunk in (16, 32, 64):
        for before in (0, 16, 64):
            seconds = 0.1 + chunk * (before + chunk) / 1000
            attention.append(f"True,{chunk},{before},1,1,0.005,{seconds},0.0")
    for batch in (1, 4, 8):
        for context in (16, 64):
            seconds = 0.1 + batch * context / 1000
            attention.append(f"False,0,{context},{batch},1,0.005,0.0,{seconds}")
    (folder / "mlp.csv").write_text("\n".join(dense) + "\n")
    (folder / "attention.csv").write_text("\n".join(attention) + "\n")
    return folder


class TestVidur:
    def test_sums_up_to_iterations(self, tmp_path: Path) -> None:
        tables = read_vidur(write_vidur(tmp_path), Deployment(4))
        cost = with_host(cost_of_kernels(tables, max_tokens=64, max_sequences=8), HOST)
        one = at(cost.decode_ps, 1) + attention_ps(cost, 1, 64)
        # Overhead; embedding once; 4 layers of nine kernels, of the cache and of attention.
        assert one == pytest.approx((1 + 0.011 + 4 * (9 * 0.011 + 0.005 + 0.164)) * 1e9, rel=1e-3)
        eight = at(cost.tokens_ps, 8) - at(cost.tokens_ps, 1)
        assert eight == pytest.approx(37 * 0.007 * 1e9, rel=1e-3)
        mixed = mixed_attention_ps(cost, 16, 16 * (2 * 64 + 16), 4, 4 * 64)
        assert mixed == pytest.approx(4 * (0.1 + 1.28 + 0.1 + 0.256) * 1e9, rel=1e-3)

    def test_goes_on_beyond_the_measured_sequences(self, tmp_path: Path) -> None:
        tables = read_vidur(write_vidur(tmp_path), Deployment(1))
        cost = cost_of_kernels(tables, max_tokens=64, max_sequences=64)
        assert attention_ps(cost, 64, 64 * 64) == pytest.approx((0.1 + 4.096) * 1e9, rel=1e-2)

    @pytest.mark.parametrize(
        ("file", "old", "new", "said"),
        [
            ("mlp", "\n8,1,0.0", "\n8,1,-", "line 3: time_stats.emb.median is -.*, must be"),
            ("mlp", "num_tokens", "tokens", "line 1: no column 'num_tokens'"),
            ("mlp", ",1,0.0", ",2,0.0", "no row with num_tensor_parallel_workers 1"),
            (
                "attention",
                "False,0,16,1,",
                "perhaps,0,16,1,",
                "line 11: is_prefill is 'perhaps', must",
            ),
            ("attention", "False", "True", "needs rows with is_prefill True and such with False"),
        ],
    )
    def test_what_is_wrong_is_told(
        self, tmp_path: Path, file: str, old: str, new: str, said: str
    ) -> None:
        path = write_vidur(tmp_path) / f"{file}.csv"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(ProfileError, match=f"{file}.csv.*{said}"):
            read_vidur(tmp_path, Deployment(4))


class TestKernelsInAScenario:
    ENGINE = "{kind: simulated, kernels: a30, layers: 4, overhead_s: 0.001, LIMITS}"
    LIMITS = "max_num_batched_tokens: 64, max_num_seqs: 8"

    def load(self, folder: Path, engine: str) -> Scenario:
        (folder / "a30").mkdir()
        write_vidur(folder / "a30")
        path = folder / "scenario.yaml"
        workload = "{requests: 1, query_tokens: 16, output_tokens: {model: 9}}"
        path.write_text(
            "name: imported\npipeline: {single: model}\n"
            f"engines: {{model: {engine}}}\nworkload: {workload}\n"
        )
        return load_scenario(path)

    def test_are_what_iterations_cost(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, self.ENGINE.replace("LIMITS", self.LIMITS))
        metrics = forecast_simulated(scenario, Schedule(), tmp_path).metrics
        prefill_ms = 1 + 0.026 + 4 * (9 * 0.026 + 0.005 + 0.1 + 16 * 16 / 1000)
        assert metrics["ttft_s"].mean == pytest.approx(prefill_ms / 1e3, rel=1e-3)

    def test_must_reach_the_engines_limits(self, tmp_path: Path) -> None:
        scenario = self.load(tmp_path, self.ENGINE.replace("LIMITS", "max_num_seqs: 8"))
        with pytest.raises(ProfileError, match=r"a30: goes up to max_num_batched_tokens 64"):
            forecast_simulated(scenario, Schedule(), tmp_path)

    @pytest.mark.parametrize(
        ("engine", "said"),
        [
            ("{kind: simulated, kernels: a30}", "layers is missing: give kernels and layers"),
            ("{kind: simulated}", "decode_tokens_per_s is missing"),
            (
                "{kind: simulated, kernels: a30, layers: 4, context_s: 1}",
                "context_s must not be given beside kernels and layers",
            ),
        ],
    )
    def test_go_without_rates(self, tmp_path: Path, engine: str, said: str) -> None:
        with pytest.raises(ScenarioError, match=said):
            self.load(tmp_path, engine)


@pytest.mark.skipif(not A30.is_dir(), reason="public measurements are not beside")
def test_a_workload_on_vidurs_a30() -> None:
    kernels = cost_of_kernels(read_vidur(A30, Deployment(28)), max_tokens=2048, max_sequences=48)
    cost = with_host(kernels, HOST)
    shapes = [RequestShape({query("model"): 512}, {"model": 32}, "length")] * 4
    setups = {"model": BatchingSetup(cost, Limits(2048, 48))}
    lines = simulate(single(), Schedule(), setups, Workload(shapes, concurrency=4))
    answers = [np.array(line.answer_ps) for line in lines]
    # 15 GB of weights over 933 GB/s are 16 ms.
    assert all(16 < np.median(np.diff(answer)) / 1e9 < 24 for answer in answers)


@pytest.mark.skipif(not PERF_MODEL.is_file(), reason="public measurements are not beside")
def test_splitwise_leave_out_errors() -> None:
    profiles = read_splitwise(PERF_MODEL).values()
    batches = list(grid_errors(profiles, lambda point: point.batch, BATCH, inside=False))
    prompts = list(grid_errors(profiles, lambda point: point.prompt, PROMPT, inside=False))
    prefill, decode = np.median(np.abs(batches), axis=0)
    assert prefill < 0.05
    assert decode < 0.05
    prefill, decode = np.median(np.abs(prompts), axis=0)
    assert prefill < 0.05
    assert decode < 0.05
