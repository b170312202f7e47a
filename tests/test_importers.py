"""Measurements of others: hand-made rows, and the public files where they lie beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.importers import BATCH, PROMPT, grid_errors
from profiles.splitwise import Setup, read_splitwise
from profiles.surface import fit_surface
from staircase.errors import ProfileError

DATA = Path(__file__).parents[2] / "shared" / "data"
PERF_MODEL = DATA / "splitwise-sim" / "perf_model.csv"

HEADER = "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel"
SETUP = Setup("m", "gpu", 2)


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
            ("m,gpu,100,1,100,fast,20,2", "line 14: prompt_time 'fast' must be a number"),
            ("m,gpu,100,1,100,nan,20,2", "line 14: prompt_time 'nan' must be a number"),
            ("m,gpu,100,1.5,100,9,20,2", "line 14: batch_size '1.5' must be a whole number"),
            ("m,gpu,100,1,100,0,20,2", "line 14: prompt_time '0' must be more than 0"),
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


@pytest.mark.skipif(not PERF_MODEL.is_file(), reason="public measurements are not beside")
def test_splitwise_leave_out_errors() -> None:
    profiles = read_splitwise(PERF_MODEL).values()
    batches = list(grid_errors(profiles, lambda point: point.batch, BATCH, inside=False))
    prompts = list(grid_errors(profiles, lambda point: point.prompt, PROMPT, inside=False))
    prefill, decode = np.median(np.abs(batches), axis=0)
    assert prefill < 0.05
    assert decode < 0.05
    prefill, decode = np.median(np.abs(prompts), axis=0)
    # The ends of the grid are extrapolated: docs/log.md.
    assert prefill < 0.07
    assert decode < 0.05
