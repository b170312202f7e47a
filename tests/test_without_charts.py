"""Without altair and pandas schedules are planned all the same; what needs them says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from planner.extras import EXTRAS

ROOT = Path(__file__).parents[1]
# A name that stands for nothing in sys.modules cannot be imported.
LACKING = [*EXTRAS["report"], *EXTRAS["notebook"]]
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({LACKING}))"
START = f"{BLOCKED}; from planner.cli.app import main; main()"


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_plan_is_written_without_its_report(tmp_path: Path) -> None:
    stale = tmp_path / "report.html"
    stale.write_text("of another plan")
    words = ["plan", "examples/paper_moa.yaml", "--trials", "10", "--out", str(tmp_path)]
    done = python(START, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "plan.json").read_text())["content"]["scenario"] == "paper-moa"
    (line,) = [line for line in done.stderr.splitlines() if "report" in line]
    assert line == "no report: this needs altair: pip install 'staircase[report]'"
    assert not stale.exists()
    assert "report.html" not in done.stdout


def test_what_draws_says_what_to_install(tmp_path: Path) -> None:
    done = python(START, "profile", "plot", "measured-cpu", "--out", str(tmp_path / "p.html"))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: this needs ")
    assert line.endswith("pip install 'staircase[report]'")
    assert not (tmp_path / "p.html").exists()


def test_from_python_it_is_an_input_error() -> None:
    code = f"""{BLOCKED}
import planner
from staircase.errors import InputError

found = planner.simulate("examples/paper_moa.yaml", requests=2)
for call in (found.figure, found.to_frame):
    try:
        call()
    except InputError as error:
        print(error)
"""
    done = python(code)
    assert done.stdout.splitlines() == [
        "this needs altair: pip install 'staircase[report]'",
        "this needs pandas: pip install 'staircase[notebook]'",
    ]
