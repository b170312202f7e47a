"""The report in headless Chromium: nothing overlaps, nothing is loaded; skips without one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from planner.report.report import render
from tests.support.plans import small_plan, validation_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
    "--window-size=1300,900",
]
# Runs in the page: boxes of its texts that meet, what sticks out, what was loaded.
LOOK = """
<script>addEventListener("load", () => setTimeout(() => {
  const meets = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2.5;
  const words_of = n => n.textContent.trim().slice(0, 40);
  const overlaps = [], check = nodes => {
    const boxes = [...nodes].map(n => [words_of(n), n.getBoundingClientRect()]);
    boxes.forEach(([words, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
      if (words && other && meets(a, b)) overlaps.push(words + " / " + other); }));
  };
  document.querySelectorAll("svg").forEach(svg => check(svg.querySelectorAll("text")));
  check(document.querySelectorAll("h1, h2, h3, p, li, .card, td, th, svg"));
  check(document.querySelectorAll("section"));
  const outside = [...document.querySelectorAll("body *")].filter(n => !n.closest(".wide")
    && n.getBoundingClientRect().right > innerWidth + 1).map(n => n.tagName + " " + words_of(n));
  const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  parent.postMessage(JSON.stringify({ width: innerWidth, overlaps, outside, loaded,
    texts: document.querySelectorAll("svg text").length,
    tips: document.querySelectorAll("[data-tip]").length,
    wide: document.documentElement.scrollWidth }), "*");
}, 100));</script>
"""
FRAME = """<body style="margin:0">
<iframe src="page.html" style="border:0;width:{}px;height:9000px"></iframe><pre id="seen"></pre>
<script>onmessage = e => document.getElementById("seen").textContent = e.data;</script></body>
"""


def look(folder: Path, page: str, width: int) -> Any:
    (folder / "page.html").write_text(page.replace("</body>", f"{LOOK}</body>"))
    (folder / "frame.html").write_text(FRAME.format(width))
    place = f"file://{folder / 'frame.html'}"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'user'}", "--dump-dom", place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen, done.stderr[-500:]
    return json.loads(unescape(seen[1]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("example", ["paper_moa", "debate"])
def test_nothing_overlaps_and_nothing_is_loaded(example: str, width: int, tmp_path: Path) -> None:
    plan = small_plan(example, 12)
    seen = look(tmp_path, render(plan, validation_of(plan)), width)
    assert seen["width"] == width
    assert seen["overlaps"] == []
    assert seen["outside"] == []
    assert seen["wide"] == width
    assert seen["loaded"] == []
    assert seen["texts"] > 50
    assert seen["tips"] > 50


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_what_overlaps_is_seen(tmp_path: Path) -> None:
    style = "<style>svg text { font-size: 40px !important }</style>"
    page = render(small_plan(trials=8)).replace("</body>", f"{style}</body>")
    assert look(tmp_path, page, 390)["overlaps"]
