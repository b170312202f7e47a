"""One request as a command shows it while it is played, where some of it is taken back."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from executor.input_engine import NO_PROMPT, InputEngine, LiveUpdates
from executor.opened_engines import OpenedEngines
from executor.runtime import Job, Outcome, Runtime, ServedModel
from planner.cli.live_view import LiveView, play_shown
from staircase import Agent, Pipeline, constant, uniform
from staircase.pipeline import Arrival
from staircase.workload import Question
from tests.support.backends import FORM
from tests.support.command_line import PLAIN, ROOT
from tests.support.scripted_engine import RecallingEngine
from tests.test_inputs import typed_scenario

PIPELINE = Pipeline(
    (Agent("heard", arrival=Arrival(), max_tokens=1000), Agent("z", reads=("heard",))), "z"
)
LINES = ("why does", "why does bred rice", "why does bread rise")


def screen(is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=300, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_frame(text: str) -> str:
    """What stands on the terminal in the end: what follows the last line that was erased."""
    plain = re.split(r"\x1b\[2K", text)[-1]
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", plain).replace("\r", "")


def heard(console: Console, pause_s: float = 0.1) -> Outcome:
    """Lines come while the answer to them is written."""
    reading, writing = os.pipe()
    served = {
        "z": ServedModel(RecallingEngine(100), FORM),
        "heard": ServedModel(LiveUpdates(reading), NO_PROMPT),
    }
    opened = OpenedEngines({}, {}, {}, {}, Runtime(served))
    timers = [
        threading.Timer(pause_s * number, os.write, (writing, f"{line}\n".encode()))
        for number, line in enumerate(LINES)
    ]
    timers.append(threading.Timer(pause_s * len(LINES), os.close, (writing,)))
    for timer in timers:
        timer.start()
    job = Job(PIPELINE, uniform(PIPELINE, constant(2, 2, 40)), Question("q", {"heard": "x"}))
    outcome = play_shown(opened, job, console, may_fall=True)
    os.close(reading)
    return outcome


def test_a_terminal_shows_what_stands_in_the_end() -> None:
    console = screen(is_terminal=True)
    outcome = heard(console)
    assert outcome.timeline.retracted_tokens > 0
    frame = last_frame(written(console)).split("\n")
    assert frame[1].strip() == outcome.texts["z"]
    assert frame[0].split() == ["heard", "4", "tokens", *LINES[-1].split()]


def test_a_pipe_gets_only_that() -> None:
    console = screen(is_terminal=False)
    outcome = heard(console)
    assert outcome.timeline.retracted_tokens > 0
    assert written(console) == outcome.texts["z"] + "\n"


@pytest.mark.parametrize("may_fall", [False, True])
def test_what_cannot_be_taken_back_is_written_as_it_comes(may_fall: bool) -> None:
    console = screen(is_terminal=False)
    served = {name: ServedModel(RecallingEngine(3), FORM) for name in ("heard", "z")}
    view = LiveView(PIPELINE, served, console, may_fall)
    with view.shown():
        view.on_token(0, "z", [97])
        assert written(console) == ("" if may_fall else "a")
        view.on_token(0, "z", [97, 98])
    assert written(console) == "ab\n"


def test_what_is_taken_back_vanishes_before_anything_new_is_there() -> None:
    console = screen(is_terminal=True)
    served = {name: ServedModel(RecallingEngine(3), FORM) for name in ("heard", "z")}
    view = LiveView(PIPELINE, served, console, may_fall=True)
    frames = []
    for ids in ([97, 98, 99], [97], [97, 100]):
        view.on_token(0, "z", ids)
        with console.capture() as captured:
            console.print(view._render())
        frames.append(last_frame(captured.get()).split("\n")[1].strip())
    assert frames == ["abc", "a", "ad"]


def test_who_listens_hears_at_once_what_fell() -> None:
    """Though nobody writes anything any more."""
    said = ((0.0, "why does bred rice"), (0.05, "why does"))
    question = Question("q", {"heard": "why does"}, updates={"heard": said})
    served = {
        "z": ServedModel(RecallingEngine(5), FORM),
        "heard": ServedModel(InputEngine(Arrival(9.0)), NO_PROMPT),
    }
    told: list[tuple[str, int]] = []
    job = Job(PIPELINE, uniform(PIPELINE, constant(3, 99, 5)), question)
    Runtime(served).run([job], on_token=lambda job, agent, ids: told.append((agent, len(ids))))
    assert [count for agent, count in told if agent == "heard"] == [1, 2, 3, 4, 2]


@pytest.mark.slow
def test_lines_come_by_standard_input(tmp_path: Path) -> None:
    """On a terminal of its own."""
    path = typed_scenario(tmp_path, [{"query": "why?", "inputs": {"typed": "now"}}], 1.0)
    control, terminal = pty.openpty()
    words = ["run", str(path), "Answer.", "--stdin-lines", "--staircase", "constant:1,2,4"]
    shown = bytearray()
    with subprocess.Popen(
        [sys.executable, "-m", "planner.cli.app", *words],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**PLAIN, "HOME": str(tmp_path), "COLUMNS": "200", "TERM": "xterm"},
    ) as process:
        os.close(terminal)
        assert process.stdin is not None
        process.stdin.write(b"what is\n")
        process.stdin.flush()
        while b"what is" not in shown:
            shown += os.read(control, 4096)
        process.stdin.write(b"what was the\nwhat was the time\n")
        process.stdin.close()
        try:
            while piece := os.read(control, 4096):
                shown += piece
        except OSError:
            pass  # Nobody has the terminal any more.
        assert process.stderr is not None
        told = process.stderr.read().decode()
    os.close(control)
    assert process.returncode == 0, told
    assert "\x1b[2K" in shown.decode()
    assert "what was the time" in last_frame(shown.decode())
