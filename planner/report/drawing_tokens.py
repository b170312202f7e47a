"""The answer's tokens over time, each schedule with the line of its reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planner.figures.json_pointers import Figures
from planner.figures.svg import MARGIN, WIDTH, Scale, axes, svg
from staircase.metrics.request_metrics import reader_ps, smooth_start

HEIGHT = 300
# The picture ends so much after the last token; a slow reader's line goes on beyond it.
WIDER = 1.25
MS = 1e-9  # of a picosecond


def draw_tokens(figures: Figures, places: Mapping[str, str]) -> str:
    """Tokens that are there against milliseconds; dashed, what a smooth reader has read.

    Args:
        places: of timelines, by the names of schedules.
    """
    step_ps = reader_ps(float(figures.value("plan/reading_rate")))
    answers = {name: figures.value(f"{place}/answer_ps") for name, place in places.items()}
    read = {name: _reading(times, step_ps) for name, times in answers.items() if times}
    most = max((len(times) for times in answers.values()), default=1)
    until = WIDER * max((answers[name][-1] for name in read), default=1) * MS
    x, y = Scale(0, until, MARGIN, WIDTH - 8), Scale(0, most, HEIGHT - 40, 28)
    body = axes(x, y, HEIGHT, "ms since the request's arrival", "tokens of the answer")
    for name, times in read.items():
        kind = name.split()[0]
        body.append(_line(f"stairs {kind}", answers[name], x, y))
        shown = [ps for ps in times if ps * MS <= until]
        body.append(_line(f"reader {kind}", shown, x, y))
    return svg(HEIGHT, body)


def _reading(answer_ps: Sequence[int], step_ps: int) -> list[int]:
    """When a reader who begins at the smooth start takes each token."""
    start_ps = int(smooth_start(answer_ps, step_ps))
    return [start_ps + place * step_ps for place in range(len(answer_ps))]


def _line(kind: str, times_ps: Sequence[Any], x: Scale, y: Scale) -> str:
    points = " ".join(f"{x(ps * MS):.1f},{y(n):.1f}" for n, ps in enumerate(times_ps, 1))
    return f'<polyline class="{kind}" points="{points}"/>'
