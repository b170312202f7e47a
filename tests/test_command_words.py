"""What the command line prints: all of the help, JSON, and text that is never cut nor markup."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from typer.main import get_command
from typer.testing import CliRunner

from planner.cli import terminal
from planner.cli.app import app
from planner.cli.terminal import PlainConsole, progress_bars
from planner.profiling.profile_warnings import LARGE_ERROR, latency_notes
from planner.report.explain_text import _gain_lines
from planner.results.explanation import Gain
from tests.support.command_line import staircase
from tests.test_cli import DEMO
from tests.test_tune import measured_profile


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All of them, by what is typed."""
    if not words or not hasattr(command, "commands"):
        yield words, command
    for name, sub in getattr(command, "commands", {}).items():
        yield from commands(sub, (*words, name))


EVERY = dict(commands(get_command(app)))


def plain(text: str) -> str:
    return re.sub(r"[\s│]+", "", text)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_says_all_that_was_written(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], terminal_width=80).output
    command = EVERY[words]
    for text in [command.help, *(getattr(one, "help", None) for one in command.params)]:
        assert plain(text or "") in plain(shown)


@pytest.mark.parametrize("words", [words for words in EVERY if words], ids=" ".join)
def test_every_command_has_json(words: tuple[str, ...]) -> None:
    assert "--json" in [option for one in EVERY[words].params for option in one.opts]


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert re.fullmatch(r"staircase \d+\.\d+\.\d+\n", done.output)


def printed(monkeypatch: pytest.MonkeyPatch, content: Any, columns: str | None) -> str:
    """On a stream that is no terminal."""
    monkeypatch.setattr("sys.stdout", stream := io.StringIO())
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    PlainConsole().print(content)
    return stream.getvalue()


LONG = "a-name-of-an-agent-" * 12
MARKUP = "written: runs/[bold]x[/bold] [default: 3] [/"


def wide_table() -> Table:
    table = Table(title="Wide")
    table.add_column("name", no_wrap=True, overflow="ellipsis")
    table.add_row(LONG)
    table.add_row(MARKUP)
    return table


@pytest.mark.parametrize("columns", [None, "", "0", "many", "40", "200"])
def test_nothing_is_cut_nor_taken_for_markup(
    monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    assert printed(monkeypatch, MARKUP, columns) == f"{MARKUP}\n"
    assert printed(monkeypatch, LONG, columns) == f"{LONG}\n"
    shown = printed(monkeypatch, wide_table(), columns)
    assert plain(LONG) in plain(shown)
    assert plain(MARKUP) in plain(shown)
    if columns in ("40", "200"):
        assert max(map(len, shown.splitlines())) <= int(columns)
    else:
        assert LONG in shown


@pytest.mark.parametrize(("total", "steps"), [(2, 8), (8, 8), (3, 0)])
def test_progress_never_has_more_done_than_there_is(
    monkeypatch: pytest.MonkeyPatch, total: int, steps: int
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "notes", PlainConsole(stderr=True))
    terminal.notes.file = stream
    with progress_bars() as track:
        step = track("[search]", total)
        for _ in range(steps):
            step()
    assert f"{steps}/{max(total, steps)}" in stream.getvalue()
    assert "[search]" in stream.getvalue()


@pytest.mark.parametrize(
    ("error", "warnings"), [(0.996, 1), (LARGE_ERROR + 0.01, 1), (LARGE_ERROR, 0), (0.02, 0)]
)
def test_a_large_error_of_a_profile_is_warned_of(error: float, warnings: int) -> None:
    engine = measured_profile()
    prefill = replace(engine.prefill, error=error, drift=0.0)
    decode = replace(engine.decode, error=0.01, drift=0.0)
    found = latency_notes(dict.fromkeys("ab", replace(engine, prefill=prefill, decode=decode)))
    assert len(found) == warnings
    assert all(f"a, b: seconds of prefill are known within {error:.1%} only" in w for w in found)


@pytest.mark.parametrize(
    ("value", "words"), [(254.56, "48.0% more"), (86.0, "50.0% less"), (172.0, "as much")]
)
def test_a_gain_says_whose_it_is(value: float, words: str) -> None:
    """In a column that says so."""
    baselines = {"normal": 172.0, "paper default": 2 * value}
    gains = [
        Gain("ttft", name, other, value, 1 - value / other, value < other)
        for name, other in baselines.items()
    ]
    head, row = _gain_lines(gains)
    end = head.index("choice has") + len("choice has")
    assert row[:end].endswith(f"  {words}")
    assert row.endswith("  50.0% less")


@pytest.mark.slow
def test_run_as_json_is_json_alone(tmp_path: Path) -> None:
    words = ["--staircase", "constant:8,8,8", "--requests", "2", "--out", str(tmp_path)]
    done = staircase("run", str(DEMO), *words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["error"] for one in found["requests"]] == [None, None]
    assert all(one["answer"] for one in found["requests"])
    assert found["metrics"]["ttft_s"]["mean"] > 0
    assert found["run"]["completed"] == 2
    table = staircase("run", str(DEMO), *words)
    assert "TTFT" in table.stdout
    assert "TTFT" not in table.stderr
