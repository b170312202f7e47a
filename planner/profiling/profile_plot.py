"""A picture of latency profiles, each over its measured range, as one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from planner.figures.svg import MARGIN, WIDTH, LogScale, axes, svg
from profiles.latency.profile import EngineProfile
from staircase.errors import InputError
from staircase.files import write_text

COLOURS = ("#2563a8", "#c9622b", "#2e7d4f", "#7a4fa3", "#a8892a", "#5c6b7a")
# Of each sequence, where decoding is drawn.
CONTEXT = 1024
HEIGHT, NODES = 320, 33

Curve = list[tuple[float, float]]


def write_plot(path: Path, engines: Mapping[str, EngineProfile]) -> None:
    """Prefill by tokens and decode by batch of all ``engines``.

    Raises:
        InputError: ``path`` is not to be a page, or there are more engines than colours.
    """
    if path.suffix != ".html":
        raise InputError(f"{path}: must end in .html, a page with the picture in it")
    if len(engines) > len(COLOURS):
        raise InputError(f"{len(engines)} engines are too many for one picture; the most is 6")
    page = Environment(loader=PackageLoader("planner"), autoescape=True)
    html = page.get_template("profiles.html").render(
        key=list(zip(engines, COLOURS, strict=False)),
        context=CONTEXT,
        prefill=_draw({n: _prefill(e) for n, e in engines.items()}, "new tokens"),
        decode=_draw({n: _decode(e) for n, e in engines.items()}, "sequences"),
    )
    write_text(path, html)


def _prefill(engine: EngineProfile) -> Curve:
    return _curve(engine.measured_range.new_tokens, lambda n: engine.prefill_s(n, 0))


def _decode(engine: EngineProfile) -> Curve:
    return _curve(engine.measured_range.batch, lambda b: engine.decode_s(b, b * CONTEXT))


def _curve(most: int, seconds: Callable[[int], float]) -> Curve:
    sizes = np.unique(np.geomspace(1, most, NODES).astype(int))
    return [(float(size), seconds(int(size)) * 1e3) for size in sizes]


def _draw(curves: Mapping[str, Curve], across: str) -> str:
    points = [point for curve in curves.values() for point in curve]
    times = [ms for _, ms in points]
    x = LogScale(1, max(2.0, *(size for size, _ in points)), MARGIN, WIDTH - 12)
    y = LogScale(min(times) / 1.1, max(times) * 1.1, HEIGHT - 36, 12)
    body = axes(x, y, HEIGHT, across, "ms")
    for curve, colour in zip(curves.values(), COLOURS, strict=False):
        line = " ".join(f"{x(size):.1f},{y(ms):.1f}" for size, ms in curve)
        body.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return svg(HEIGHT, body)
