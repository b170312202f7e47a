"""The README's "Your own models": four folders, profiled, planned, validated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import staircase
from tests.support.four_models import save_four_models, write_scenario


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tokenizers", [1, 2])
def test_four_folders_are_profiled_planned_and_validated(tmp_path: Path, tokenizers: int) -> None:
    save_four_models(tmp_path, tokenizers)
    path, out = str(write_scenario(tmp_path)), ["--out", str(tmp_path / "out")]
    runs = {}
    for command in ("profile", "plan", "validate"):
        runs[command] = staircase(command, path, *out, "--json")
        assert runs[command].returncode == 0, runs[command].stderr
    assert (tmp_path / "out" / "quality.json").is_file()
    assert not (tmp_path / "out" / "lengths.json").exists()
    rows = json.loads(runs["validate"].stdout)["rows"]
    for row in rows:
        assert {"loss", "ttft_s"} <= row["candidate"]["forecast"].keys() & row["measured"].keys()
    normal = next(row for row in rows if row["name"] == "normal")["measured"]
    assert normal["unread"]["mean"] == 0
    assert normal["loss"]["mean"] == pytest.approx(0, abs=1e-5)
