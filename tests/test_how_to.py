"""The how-tos of ``docs/architecture.md``, followed in a copy of the packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("staircase", "profiles", "simulator", "executor", "planner")
SIMULATE = ("simulate", "examples/paper_moa.yaml", "--requests", "3", "--json", "--staircase")
READER = """
from pathlib import Path

from profiles.json_node import read_node
from profiles.latency.endpoint import EndpointProfile, Moments, endpoint_of_moments
from profiles.store import imported


def read_latencies(path: Path) -> EndpointProfile:
    node = read_node(path, "an object with ttft_s and itl_s")
    ttft, itl = (Moments(node[key].positive(), 0.0) for key in ("ttft_s", "itl_s"))
    return endpoint_of_moments(ttft, itl, None, imported("latencies", path, {}))
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, as its simulator is compiled anew."""
    folder = tmp_path_factory.mktemp("copy")
    leave_out = shutil.ignore_patterns("__pycache__")
    for name in (*PACKAGES, "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    return folder


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path}: {before}"
    path.write_text(text.replace(before, after))


def staircase(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "planner.cli.app", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_importer(copy: Path) -> None:
    importers = copy / "profiles" / "importers"
    (importers / "latencies.py").write_text(READER)
    edit(
        importers / "importing.py",
        "from profiles.importers.load_tests import",
        "from profiles.importers.latencies import read_latencies\n"
        "from profiles.importers.load_tests import",
    )
    edit(
        importers / "importing.py",
        '    "aiperf": ',
        '    "latencies": Format((), lambda path, picks: read_latencies(path)),\n    "aiperf": ',
    )
    (copy / "mine.json").write_text('{"ttft_s": 0.25, "itl_s": 0.01}')
    staircase(copy, "profile", "import", "latencies", "mine.json", "--out", "mine.profile.json")
    assert "0.25" in (copy / "mine.profile.json").read_text()


def test_a_figure(copy: Path) -> None:
    """The second token's time, as an objective with limits."""
    edit(
        copy / "planner" / "figures" / "metric_table.py",
        '    _time("e2e_s", "E2E", "e2e", "last token"),\n',
        '    _time("e2e_s", "E2E", "e2e", "last token"),\n'
        '    _time("second_s", "second token", "second"),\n',
    )
    metrics = copy / "staircase" / "metrics" / "request_metrics.py"
    edit(metrics, "    cached_tokens: float\n", "    cached_tokens: float\n    second_s: float\n")
    edit(
        metrics,
        "        answer_tokens=count,\n",
        "        answer_tokens=count,\n"
        "        second_s=to_s(int(answer_ps[1])) if count > 1 else NAN,\n",
    )
    edit(
        copy / "simulator" / "compiled" / "results.py",
        "                **self._of_calls(),\n",
        "                **self._of_calls(),\n"
        '                "second_s": (self.token_ps[firsts + 1] - arrival_ps) / PS_PER_S,\n',
    )
    words = (*SIMULATE, "constant:8,128,60")
    metrics_of = json.loads(staircase(copy, *words))["forecast"]
    assert metrics_of["ttft_s"]["mean"] < metrics_of["second_s"]["mean"]
    asked = ("plan", "examples/paper_moa.yaml", "--trials", "12", "--out", "out")
    staircase(copy, *asked, "--objective", "second", "--objective", "unread")
    plan = json.loads((copy / "out" / "plan.json").read_text())["content"]
    assert plan["objectives"] == ["second", "unread"]


def test_a_layout(copy: Path) -> None:
    """The question before the drafts and after them."""
    schedule, prompt = (copy / "staircase" / name for name in ("schedule.py", "prompt.py"))
    text = schedule.read_text().replace('"interleave"]', '"interleave", "question_twice"]')
    schedule.write_text(text.replace('"interleave")', '"interleave", "question_twice")'))
    edit(
        prompt,
        '        if self.layout in ("rebuild", "rebuild_query_first"):',
        '        if self.layout in ("rebuild", "rebuild_query_first", "question_twice"):',
    )
    edit(
        prompt,
        "        return Prompt(tuple(joined([*self._head, *body,",
        '        if self.layout == "question_twice":\n'
        "            body = [question, *so_far, question]\n"
        "        return Prompt(tuple(joined([*self._head, *body,",
    )
    words = (*SIMULATE, "constant:8,128,60", "--layout")
    prefilled = [
        json.loads(staircase(copy, *words, layout))["forecast"]["prefilled_tokens"]["mean"]
        for layout in ("rebuild_query_first", "question_twice")
    ]
    assert prefilled[0] < prefilled[1]
