"""A picture of latency profiles, each over its measured range, as one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from planner.extras import extras
from profiles.latency.profile import EngineProfile
from staircase.errors import InputError
from staircase.files import write_text

MOST_ENGINES = 6
# Of each sequence, where decoding is drawn.
CONTEXT = 1024
NODES = 33


def write_plot(path: Path, engines: Mapping[str, EngineProfile]) -> None:
    """Prefill by tokens and decode by batch of all ``engines``.

    Raises:
        InputError: ``path`` is not to be a page, there are more engines than colours, or the extra
            ``report`` is not installed.
    """
    if path.suffix != ".html":
        raise InputError(f"{path}: must end in .html, a page with the picture in it")
    if len(engines) > MOST_ENGINES:
        raise InputError(f"{len(engines)} engines are too many for one picture; the most is 6")
    with extras():
        from planner.charts.embedding import embedded, library
        from planner.charts.latency_profiles import COLOURS, curves_chart
    prefill = curves_chart({n: _prefill(e) for n, e in engines.items()}, "new tokens")
    decode = curves_chart({n: _decode(e) for n, e in engines.items()}, "sequences")
    page = Environment(loader=PackageLoader("planner"), autoescape=True)
    html = page.get_template("profiles.html").render(
        key=list(zip(engines, COLOURS, strict=False)),
        context=CONTEXT,
        prefill=embedded("prefill", prefill),
        decode=embedded("decode", decode),
        library=library(),
    )
    write_text(path, html)


def _prefill(engine: EngineProfile) -> list[tuple[float, float]]:
    return _curve(engine.measured_range.new_tokens, lambda n: engine.prefill_s(n, 0))


def _decode(engine: EngineProfile) -> list[tuple[float, float]]:
    return _curve(engine.measured_range.batch, lambda b: engine.decode_s(b, b * CONTEXT))


def _curve(most: int, seconds: Callable[[int], float]) -> list[tuple[float, float]]:
    sizes = np.unique(np.geomspace(1, most, NODES).astype(int))
    return [(float(size), seconds(int(size)) * 1e3) for size in sizes]
