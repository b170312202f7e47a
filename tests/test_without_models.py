"""Without torch and transformers, schedules are simulated and planned all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from planner.extras import EXTRAS

ROOT = Path(__file__).parents[1]
# A name that stands for nothing in sys.modules cannot be imported.
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS['models']}))"
# Several commands, each a line of words.
START = f"""{BLOCKED}
from planner.cli.app import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["staircase", *line.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def staircase(*commands: str) -> subprocess.CompletedProcess[str]:
    """Up to the first that fails."""
    return subprocess.run(
        [sys.executable, "-c", START],
        cwd=ROOT,
        input="\n".join(commands),
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_plays_nothing_real_needs_no_models(tmp_path: Path) -> None:
    done = staircase(
        "simulate examples/paper_moa.yaml --requests 3 --staircase constant:8,128,60",
        "simulate examples/other_hardware.yaml --requests 3",
        "capacity examples/two_layers.yaml --slo ttft:2000",
        "profile list",
        "engines examples/endpoints.yaml",
        f"plan examples/paper_moa.yaml --trials 10 --out {tmp_path}/out",
        f"explain examples/paper_moa.yaml --out {tmp_path}/out",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", ["run examples/smollm2.yaml why", "profile planner/demo.yaml"])
def test_what_needs_them_says_so_in_a_line(words: str, tmp_path: Path) -> None:
    done = staircase(f"{words} --out {tmp_path}/out")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith("pip install 'staircase[models]'")
    assert not (tmp_path / "out").exists()
