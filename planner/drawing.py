"""Pictures as SVG: the staircase, a timeline, the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from planner.plans import Candidate, Plan
from planner.svg import MARGIN, WIDTH, Scale, axes, svg, text
from staircase.schedule import Step
from staircase.timeline import Span, Timeline, to_s

ROW = 26


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
        *axes(x, y, height, f"tokens that {agent} has written", "tokens read of each source"),
        f'<polygon class="area" points="{area}"/><polyline class="stairs" points="{path}"/>',
    ]
    return svg(height, body)


def draw_timeline(timeline: Timeline, until_s: float) -> str:
    """Spans by agent: queued, prefill, decode; the answer's tokens as ticks."""
    agents = list(dict.fromkeys(span.agent for span in timeline.spans))
    top, height = ROW * len(agents) + 12, ROW * (len(agents) + 1) + 40
    x = Scale(0, until_s, 96, WIDTH - 12)
    body = [text(8, ROW * row + 25, agent) for row, agent in enumerate([*agents, "answer"])]
    for span in timeline.spans:
        body += _bars(span, timeline.arrival_ps, x, ROW * agents.index(span.agent) + 12)
    for ps in timeline.answer_ps:
        place = f"{x(to_s(ps - timeline.arrival_ps)):.1f}"
        ends = f'x1="{place}" x2="{place}" y1="{top}" y2="{top + 16}"'
        body.append(f'<line class="tick" {ends}/>')
    for tick in x.ticks():
        place_px = min(x(tick), WIDTH - 30)
        body.append(text(place_px, height - 8, f"{tick * 1000:.0f} ms", "middle"))
    return svg(height, body)


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
    body = axes(x, y, height, "forecast TTFT, ms", "forecast loss, nats a token")
    body += [_dot(candidate, x, y, "dot") for candidate in points]
    body.append(f'<polyline class="front" points="{front}"/>')
    body += [_dot(plan.candidates[number], x, y, "dot onfront") for number in plan.front]
    for name, candidate in plan.named().items():
        body.append(_dot(candidate, x, y, f"dot {name.split()[0]}", radius=6, title=name))
    return svg(height, body)


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
