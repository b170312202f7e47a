"""Pictures of what was played: the staircases, and a request's timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from planner.figures.json_pointers import Figures
from planner.figures.svg import MARGIN, WIDTH, Scale, axes, scale_text, svg, text, tip

ROW, BAR = 26, 16
# Letters of a name beside its row.
MOST = 20
MS = 1e-9  # of a picosecond
# Ends of phases: the first that is known.
READABLE = ("first_token_ps", "ended_ps")
OUTPUT = ("thought_ps", *READABLE)
PHASES = (
    ("queued", ("submitted_ps",), ("started_ps",)),
    ("prefill", ("started_ps",), OUTPUT),
    ("thinking", OUTPUT, READABLE),
    ("decode", READABLE, ("ended_ps",)),
)


def draw_staircases(figures: Figures, place: str, answer: str) -> str:
    """Tokens read of each source against own tokens written, as played in the timelines there."""
    played = {name: _steps(line, answer) for name, line in figures.value(place).items()}
    tops = [(w + o, level) for steps in played.values() for _, w, o, level in steps]
    height = 300
    x = Scale(0, max((own for own, _ in tops), default=1), MARGIN, WIDTH - 8)
    y = Scale(0, max((read for _, read in tops), default=1), height - 40, 28)
    across = f"tokens that {answer} has written"
    at = ("plan/explanation/answer", "")
    body = axes(x, y, height, across, "tokens read of each source", at)
    for name, steps in played.items():
        corners = [(own, level) for _, w, o, level in steps for own in (w, w + o)]
        path = " ".join(f"{x(own):.1f},{y(read):.1f}" for own, read in corners)
        if name == "chosen":
            base = (
                f"{x(0):.1f},{y(0):.1f} {path} {x(corners[-1][0] if corners else 0):.1f},{y(0):.1f}"
            )
            body.append(f'<polygon class="area" points="{base}"/>')
        body.append(f'<polyline class="stairs {name.split()[0]}" points="{path}"/>')
    body += [
        _tread(figures, f"{place}/chosen/spans/{number}", level, w, o, x, y)
        for number, w, o, level in played.get("chosen", [])
    ]
    return svg(height, body)


def _steps(timeline: Any, agent: str) -> list[tuple[int, int, int, int]]:
    """Of each step: its span's number, own tokens before it, what it wrote, what it had read."""
    spans = [(n, s) for n, s in enumerate(timeline["spans"]) if s["agent"] == agent]
    return [(n, s["written"], s["output_tokens"], max(s["read"], default=0)) for n, s in spans]


def _tread(
    figures: Figures, span: str, level: int, written: int, wrote: int, x: Scale, y: Scale
) -> str:
    """The ground below a step, which tells of it."""
    sources = figures.value(f"{span}/read")
    source = sources.index(level) if sources else None
    read = [] if source is None else [f"{span}/read/{source}"]
    template = f"step {{}}: has read {'{} tokens' if read else 'nothing'}, writes {{}}"
    places = [f"{span}/step", *read, f"{span}/output_tokens"]
    left, right = x(written), x(written + wrote)
    return (
        f'<rect class="tread" x="{left:.1f}" y="{y(level):.1f}" width="{right - left:.1f}" '
        f'height="{y(0) - y(level):.1f}">{tip(figures.words(template, places), places)}</rect>'
    )


def draw_timeline(figures: Figures, place: str, until_ms: float) -> str:
    """Spans by agent: queued, prefill, thinking, decode; the answer's tokens as ticks."""
    timeline = figures.value(place)
    agents = list(dict.fromkeys(span["agent"] for span in timeline["spans"]))
    top, left = ROW * len(agents) + 8, 14 + 8 * min(MOST, max(map(len, [*agents, "answer"])))
    x = Scale(0, until_ms, left, WIDTH - 8)
    body = [text(2, top + 13, "answer")]
    body += [_name(place, timeline["spans"], name, row) for row, name in enumerate(agents)]
    for number, span in enumerate(timeline["spans"]):
        above = ROW * agents.index(span["agent"]) + 8
        body += _bars(figures, f"{place}/spans/{number}", span, x, above)
    body += _tokens(timeline["answer_ps"], x, top)
    body += [scale_text(x(tick), top + ROW + 16, tick, "middle") for tick in x.ticks()[:-1]]
    body.append(text(x.stop, top + ROW + 16, "ms", "end"))
    return svg(top + ROW + 22, body)


def _name(place: str, spans: Sequence[Any], agent: str, row: int) -> str:
    number = next(number for number, span in enumerate(spans) if span["agent"] == agent)
    words = agent if len(agent) <= MOST else f"{agent[: MOST - 1]}…"
    return text(2, ROW * row + 21, words, at=f"{place}/spans/{number}/agent")


def _bars(figures: Figures, place: str, span: Any, x: Scale, top: float) -> Iterator[str]:
    for kind, *ends in PHASES:
        keys = [next(key for key in some if span.get(key) is not None) for some in ends]
        begin, end = (span[key] for key in keys)
        if end > begin:
            left, right = x(begin * MS), x(end * MS)
            places = [f"{place}/step", *(f"{place}/{key}*{MS:g}" for key in keys)]
            words = figures.words(f"step {{}}, {kind} from {{}} to {{}} ms", places)
            where = f'x="{left:.1f}" y="{top}" width="{max(right - left, 0.5):.1f}" height="{BAR}"'
            yield f'<rect class="{kind}" {where}>{tip(words, places)}</rect>'


def _tokens(answer_ps: Iterable[int], x: Scale, top: float) -> Iterator[str]:
    """One path for all: an answer may have thousands."""
    places = dict.fromkeys(f"{x(ps * MS):.1f}" for ps in answer_ps)
    strokes = "".join(f"M{place} {top}v{BAR}" for place in places)
    yield f'<path class="tokens" d="{strokes}"/>'
