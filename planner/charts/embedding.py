"""Charts in a page that needs no network: their specifications, and the script that draws them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import vl_convert
from markupsafe import Markup

from planner.charts.style import PAGE

# What draws a specification: ``vegaEmbed`` with Vega and Vega-Lite in it.
GLOBAL = "window.vegaEmbed = vegaEmbed;"
FIGURE = (
    '<figure class="chart" id="{}"><div></div><script type="application/json">{}</script></figure>'
)


def embedded(name: str, chart: Any) -> Markup:
    """A figure whose specification ``charts.js`` draws; ``name`` is its element's."""
    # Whether it is one of Vega-Lite is tested; to look at each took a third of a report's time.
    spec = PAGE.configured(chart).to_dict(validate=False)
    # An address that nothing loads.
    del spec["$schema"]
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False)
    return Markup(FIGURE).format(name, Markup(_safe(text)))


@cache
def library() -> Markup:
    """Vega, Vega-Lite and vega-embed, about 0.9 MB; they take a second to bundle."""
    version = vl_convert.get_vegalite_versions()[-1]
    return Markup(vl_convert.javascript_bundle(GLOBAL, vl_version=version))


def _safe(spec: str) -> str:
    """JSON in which nothing ends a script element."""
    return spec.replace("<", "\\u003c")
