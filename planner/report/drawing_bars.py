"""Pictures of figures side by side: where TTFT goes, and forecasts beside measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.figures.axis import Axis
from planner.figures.json_pointers import Figures, place_of
from planner.figures.svg import WIDTH, Scale, scale_text, svg, text, tip

ROW = 44
# Colours of the style sheet for roles: the first layers, then these again.
HUES = 3


@dataclass(frozen=True)
class Bar:
    """Where one TTFT goes: the keys of a ``TtftParts``, of its bound if there is one, and words."""

    words: str
    keys: tuple[str | int, ...]
    bound: tuple[str | int, ...] | None = None


def draw_ttft(figures: Figures, bars: Sequence[Bar]) -> str:
    """Each TTFT as a bar of its parts, all of one length; a mark where its bound would be."""
    x, body = Scale(0, 1, 2, WIDTH - 2), list[str]()
    for row, bar in enumerate(bars):
        body += _stack(figures, bar, x, ROW * row)
    return svg(ROW * len(bars), body)


def _stack(figures: Figures, bar: Bar, x: Scale, top: float) -> Iterator[str]:
    total = place_of(*bar.keys, "ttft_s", factor=1000)
    yield text(2, top + 14, bar.words)
    yield text(WIDTH - 2, top + 14, f"{figures.text(total)} ms", "end", at=total)
    whole, done = figures.scaled(total) or 1.0, 0.0
    for number, part in enumerate(figures.value(place_of(*bar.keys, "parts"))):
        share = part["mean_s"] * 1000 / whole
        keys = (*bar.keys, "parts", number)
        places = [place_of(*keys, "role"), place_of(*keys, "mean_s", factor=1000)]
        words = figures.words(f"{{}}: {part['phase']} {{}} ms", places)
        left, right = x(done), x(done + share)
        where = f'x="{left:.1f}" y="{top + 20}" width="{right - left:.1f}" height="16"'
        kind = f"{hue(part['role'])} in-{part['phase']}"
        yield f'<rect class="{kind}" {where}>{tip(words, places)}</rect>'
        done += share
    if bar.bound:
        yield from _mark(figures, place_of(*bar.bound, "ttft_s", factor=1000), x, whole, top)


def _mark(figures: Figures, place: str, x: Scale, whole: float, top: float) -> Iterator[str]:
    at = x(min(figures.scaled(place) / whole, 1.0))
    words = figures.words("with nothing in the way {} ms", [place])
    yield f'<path class="bound" d="M{at:.1f} {top + 17}v22">{tip(words, [place])}</path>'


def hue(role: str) -> str:
    """The style sheet's class for a role."""
    if role.startswith("layer "):
        return f"layer{(int(role.split()[1]) - 1) % HUES}"
    return {"answer": "answer", "proposers": "layer0"}.get(role, "start")


def draw_intervals(figures: Figures, axis: Axis) -> str:
    """A row for each schedule: the forecast's mean and the measured one with their intervals."""
    rows = range(figures.value("validation/rows/#"))
    keys = [("validation", "rows", row) for row in rows]
    ends = [
        figures.scaled(axis.place(*key, *kind, statistic="high"))
        for key in keys
        for kind in KINDS.values()
    ]
    x = Scale(min(0.0, *ends), max((e for e in ends if e == e), default=1.0), 112, WIDTH - 14)
    height = 26 * len(keys) + 10
    body = [
        f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="4" y2="{height}"/>'
        for t in x.ticks()
    ]
    for row, key in enumerate(keys):
        name = place_of(*key, "name")
        body.append(text(2, 26 * row + 22, figures.text(name), at=name))
        for offset, (kind, way) in enumerate(KINDS.items()):
            body += _whisker(figures, axis, (*key, *way), kind, x, 26 * row + 13 + 9 * offset)
    body += [scale_text(x(tick), height + 16, tick, "middle") for tick in x.ticks()]
    return svg(height + 22, body)


KINDS = {"forecast": ("candidate", "forecast"), "measured": ("measured",)}


def _whisker(
    figures: Figures, axis: Axis, keys: tuple[str | int, ...], kind: str, x: Scale, y: float
) -> Iterator[str]:
    places = [axis.place(*keys, statistic=name) for name in ("mean", "low", "high")]
    mean, low, high = map(figures.scaled, places)
    if mean == mean:
        told = tip(figures.words(f"{kind} {{}} ({{}} – {{}}){axis.unit}", places), places)
        line = f'<path d="M{x(low):.1f} {y}H{x(high):.1f}"/>'
        dot = f'<circle cx="{x(mean):.1f}" cy="{y}" r="4"/>'
        yield f'<g class="whisker {kind}">{told}{line}{dot}</g>'
