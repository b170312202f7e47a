"""Timelines as a Chrome trace, which Perfetto (ui.perfetto.dev) opens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from staircase.files import write_text
from staircase.timeline import Span, Timeline

PS_PER_US = 10**6

Events = Iterator[dict[str, Any]]


def write_trace(path: Path, runs: Mapping[str, Sequence[Timeline]]) -> None:
    """Writes ``runs`` (by name, say "simulated" and "real") side by side into one file."""
    processes = [(name, timeline) for name, timelines in runs.items() for timeline in timelines]
    events = [
        event
        for number, (name, timeline) in enumerate(processes, start=1)
        for event in _process(number, name, timeline)
    ]
    write_text(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


def _process(number: int, run: str, timeline: Timeline) -> Events:
    threads = ["answer", *dict.fromkeys(span.agent for span in timeline.spans)]
    yield _name("process_name", number, 0, f"{run} · request {timeline.request}")
    for thread, name in enumerate(threads):
        yield _name("thread_name", number, thread, name)
    for span in timeline.spans:
        yield from _phases(number, threads.index(span.agent), span)
    for count, ps in enumerate(timeline.answer_ps, start=1):
        place = {"pid": number, "tid": 0, "ts": ps / PS_PER_US}
        yield {"ph": "i", "s": "t", "name": f"token {count}"} | place


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _phases(process: int, thread: int, span: Span) -> Events:
    first = span.ended_ps if span.first_token_ps is None else span.first_token_ps
    thought = first if span.thought_ps is None else span.thought_ps
    phases = (
        [("arriving", span.submitted_ps, span.ended_ps)]
        if not span.has_model
        else [
            ("queued", span.submitted_ps, span.started_ps),
            ("prefill", span.started_ps, thought),
            ("thinking", thought, first),
            ("decode", first, span.ended_ps),
        ]
    )
    arguments = {
        "step": span.step,
        "prompt_tokens": span.prompt_tokens,
        "cached_tokens": span.cached_tokens,
        "output_tokens": span.output_tokens,
        "thinking_tokens": span.thinking_tokens,
        "passes": span.passes,
        "guessed_tokens": span.guessed_tokens,
        "near_ties": span.near_ties,
        "checked_tokens": span.checked_tokens,
        "kept_tokens": span.kept_tokens,
        "reason": span.reason,
    }
    for phase, start, stop in phases:
        if stop > start:
            yield {
                "ph": "X",
                "name": f"{phase} (step {span.step})",
                "pid": process,
                "tid": thread,
                "ts": start / PS_PER_US,
                "dur": (stop - start) / PS_PER_US,
                "args": arguments,
            }
