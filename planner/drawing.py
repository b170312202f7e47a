"""Pictures as SVG: the staircase, a timeline, the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from planner.plan import Candidate, Plan
from staircase.schedule import Step
from staircase.timeline import Span, Timeline, to_s

WIDTH = 640
MARGIN = 48
ROW = 26
GREY_TEXT = 'class="axis"'


@dataclass(frozen=True)
class Scale:
    """Maps ``low``..``high`` to pixels ``start``..``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        return [self.low + (self.high - self.low) * n / (count - 1) for n in range(count)]


def draw_staircase(timeline: Timeline, agent: str) -> str:
    """Tokens read of each source against own tokens written, as played in ``timeline``."""
    spans = sorted((s for s in timeline.spans if s.agent == agent), key=lambda span: span.step)
    corners: list[tuple[int, int]] = []
    for span in spans:
        level = max(span.read, default=0)
        corners += [(span.written, level), (span.written + span.output_tokens, level)]
    height = 260
    x = Scale(0, max((c for c, _ in corners), default=1), MARGIN, WIDTH - 12)
    y = Scale(0, max((c for _, c in corners), default=1), height - 36, 12)
    path = " ".join(f"{x(own):.1f},{y(read):.1f}" for own, read in corners)
    area = f"{x(0):.1f},{y(0):.1f} {path} {x(x.high):.1f},{y(0):.1f}"
    body = [
        *_axes(x, y, height, f"tokens that {agent} has written", "tokens read of each source"),
        f'<polygon class="area" points="{area}"/><polyline class="stairs" points="{path}"/>',
    ]
    return _svg(height, body)


def draw_timeline(timeline: Timeline, until_s: float) -> str:
    """Spans by agent: queued, prefill, decode; the answer's tokens as ticks."""
    agents = list(dict.fromkeys(span.agent for span in timeline.spans))
    top, height = ROW * len(agents) + 12, ROW * (len(agents) + 1) + 40
    x = Scale(0, until_s, 96, WIDTH - 12)
    body = [_text(8, ROW * row + 25, agent) for row, agent in enumerate([*agents, "answer"])]
    for span in timeline.spans:
        body += _bars(span, timeline.arrival_ps, x, ROW * agents.index(span.agent) + 12)
    for ps in timeline.answer_ps:
        place = f"{x(to_s(ps - timeline.arrival_ps)):.1f}"
        ends = f'x1="{place}" x2="{place}" y1="{top}" y2="{top + 16}"'
        body.append(f'<line class="tick" {ends}/>')
    for tick in x.ticks():
        place_px = min(x(tick), WIDTH - 30)
        body.append(_text(place_px, height - 8, f"{tick * 1000:.0f} ms", "middle"))
    return _svg(height, body)


def _bars(span: Span, arrival_ps: int, x: Scale, top: float) -> Iterable[str]:
    first = span.ended_ps if span.first_token_ps is None else span.first_token_ps
    phases = [
        ("queued", span.submitted_ps, span.started_ps),
        ("prefill", span.started_ps, first),
        ("decode", first, span.ended_ps),
    ]
    for kind, start, stop in phases:
        left, right = x(to_s(start - arrival_ps)), x(to_s(stop - arrival_ps))
        words = f"step {span.step}, {kind} {to_s(stop - start) * 1000:.2f} ms"
        yield (
            f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{max(right - left, 0.5):.1f}" '
            f'height="16"><title>{words}</title></rect>'
        )


def draw_front(plan: Plan) -> str:
    """Every candidate's forecast TTFT and loss; the front joined, the named ones marked."""
    height = 320
    points = plan.candidates
    x = Scale(0, max(c.ttft_s for c in points) * 1000, MARGIN + 8, WIDTH - 12)
    y = Scale(0, max(c.loss for c in points) or 1.0, height - 36, 12)
    front = " ".join(_point(plan.candidates[n], x, y) for n in plan.front)
    body = _axes(x, y, height, "forecast TTFT, ms", "forecast loss, nats a token")
    body += [_dot(candidate, x, y, "dot") for candidate in points]
    body.append(f'<polyline class="front" points="{front}"/>')
    body += [_dot(plan.candidates[number], x, y, "dot onfront") for number in plan.front]
    for name, candidate in plan.named().items():
        body.append(_dot(candidate, x, y, f"dot {name.split()[0]}", radius=6, title=name))
    return _svg(height, body)


def _point(candidate: Candidate, x: Scale, y: Scale) -> str:
    return f"{x(candidate.ttft_s * 1000):.1f},{y(candidate.loss):.1f}"


def _dot(
    candidate: Candidate, x: Scale, y: Scale, kind: str, radius: int = 3, title: str = ""
) -> str:
    across, up = _point(candidate, x, y).split(",")
    words = f"{title + ': ' if title else ''}{describe(candidate)}"
    return (
        f'<circle class="{kind}" cx="{across}" cy="{up}" r="{radius}">'
        f"<title>{escape(words)}</title></circle>"
    )


def describe(candidate: Candidate) -> str:
    return (
        f"{describe_schedule(candidate)}; TTFT {candidate.ttft_s * 1000:.1f} ms, "
        f"loss {candidate.loss:.3f}, agreement {candidate.agreement:.3f}"
    )


def describe_schedule(candidate: Candidate) -> str:
    """A schedule in a line: layout and the first steps of its staircases."""
    staircases = {
        " ".join(_describe_step(staircase.step(number)) for number in range(3))
        for staircase in candidate.schedule.staircases.values()
        if not staircase.is_normal
    }
    steps = " | ".join(sorted(staircases))
    return f"{candidate.schedule.layout}, {f'read/write {steps} …' if steps else 'read all first'}"


def _describe_step(step: Step) -> str:
    return (
        f"{'all' if step.read is None else step.read}/{'end' if step.write is None else step.write}"
    )


def _axes(x: Scale, y: Scale, height: int, across: str, up: str) -> list[str]:
    lines = [
        _text(x.stop, height - 4, f"{across} →", "end"),
        f'<text {GREY_TEXT} transform="translate(12 {y.stop}) rotate(-90)" text-anchor="end">'
        f"{escape(up)} →</text>",
    ]
    for tick in y.ticks():
        place = f'y1="{y(tick):.1f}" y2="{y(tick):.1f}"'
        lines.append(f'<line class="grid" x1="{x.start}" x2="{x.stop}" {place}/>')
        lines.append(_text(x.start - 4, y(tick) + 4, f"{tick:.3g}", "end"))
    return lines + [_text(x(tick), height - 20, f"{tick:.3g}", "middle") for tick in x.ticks()]


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return (
        f'<text {GREY_TEXT} text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
    )


def _svg(height: float, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(body)}</svg>"
    )
