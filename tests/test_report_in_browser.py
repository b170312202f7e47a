"""The report in headless Chromium: nothing overlaps, nothing is loaded; skips without one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
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
<script>addEventListener("load", () => drawn.then(() => setTimeout(() => {
  const meets = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2.5;
  const words_of = n => n.textContent.trim().slice(0, 40);
  const overlaps = [], check = nodes => {
    const boxes = [...nodes].map(n => [words_of(n), n.getBoundingClientRect()]);
    boxes.forEach(([words, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
      if (words && other && meets(a, b)) overlaps.push(words + " / " + other); }));
  };
  // Labels for which there is no room stay in the tree, unseen.
  document.querySelectorAll("svg").forEach(svg =>
    check([...svg.querySelectorAll("text")].filter(n => getComputedStyle(n).opacity > 0)));
  // Of a table that scrolls there is more than can be seen.
  const seen = [...document.querySelectorAll("h1, h2, h3, p, li, .card, .tall, td, th, svg")];
  check(seen.filter(n => !n.closest(".tall table")));
  check(document.querySelectorAll("section"));
  const outside = [...document.querySelectorAll("body *")].filter(n => !n.closest(".wide")
    && (n.matches("text") || !n.closest("svg g"))
    && n.getBoundingClientRect().right > innerWidth + 1).map(n => n.tagName + " " + words_of(n));
  const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  parent.postMessage(JSON.stringify({ width: innerWidth, overlaps, outside, loaded,
    texts: document.querySelectorAll("svg text").length,
    marks: document.querySelectorAll("figure svg [role=graphics-symbol]").length,
    colours: [...document.querySelectorAll("#front .mark-symbol path")]
      .map(n => getComputedStyle(n).fill),
    wide: document.documentElement.scrollWidth }), "*");
}, 100)));</script>
"""
# Picks a member of the front by its point, then sorts by the third column, twice.
PICK = """
<script>addEventListener("load", () => drawn.then(async () => {
  const wait = () => new Promise(done => setTimeout(done, 200));
  const shown = ".mark-line path[stroke*=violet]";
  const lines = name => document.querySelectorAll(`#${name} ${shown}`).length;
  const before = [lines("staircase"), lines("tokens")];
  const dots = [...document.querySelectorAll("#front .mark-symbol path")];
  const dot = dots.find(n => n.__data__ && n.__data__.datum.kind === "on the front");
  const number = dot.__data__.datum.number;
  dot.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await wait();
  const after = [lines("staircase"), lines("tokens")];
  const marked = document.querySelectorAll("tr.is-picked").length;
  const hidden = [...document.querySelectorAll(".when-picked")].some(n => n.hidden);
  const head = document.querySelectorAll(".sortable th")[2];
  const column = () => [...document.querySelectorAll(".sortable tbody tr")]
    .map(row => Number(row.cells[2].dataset.value));
  head.click();
  const rising = column();
  head.click();
  const falling = column();
  document.querySelector("tr.is-picked").click();
  await wait();
  const last = [lines("staircase"), lines("tokens")];
  const seen = { before, number, after, marked, hidden, rising, falling, last };
  parent.postMessage(JSON.stringify(seen), "*");
}));</script>
"""
FRAME = """<body style="margin:0">
<iframe src="page.html" style="border:0;width:{}px;height:14000px"></iframe><pre id="seen"></pre>
<script>onmessage = e => document.getElementById("seen").textContent = e.data;</script></body>
"""


def at_the_end(page: str, more: str) -> str:
    """The library, too, speaks of a body's end."""
    head, end, tail = page.rpartition("</body>")
    return f"{head}{more}{end}{tail}"


def look(folder: Path, page: str, width: int, script: str = LOOK, flags: Sequence[str] = ()) -> Any:
    """What ``script`` posts from the page."""
    (folder / "page.html").write_text(at_the_end(page, script))
    (folder / "frame.html").write_text(FRAME.format(width))
    place = f"file://{folder / 'frame.html'}"
    command = [
        str(CHROMIUM),
        *FLAGS,
        *flags,
        f"--user-data-dir={folder / 'user'}",
        "--dump-dom",
        place,
    ]
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
    assert seen["marks"] > 50


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_what_overlaps_is_seen(tmp_path: Path) -> None:
    style = "<style>svg text { font-size: 40px !important }</style>"
    page = at_the_end(render(small_plan(trials=8)), style)
    assert look(tmp_path, page, 390)["overlaps"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_point_is_picked_and_the_table_is_sorted(tmp_path: Path) -> None:
    plan = small_plan(trials=12)
    seen = look(tmp_path, render(plan), 1280, PICK)
    assert seen["number"] in plan.front
    assert (seen["before"], seen["after"], seen["last"]) == ([0, 0], [1, 2], [0, 0])
    assert seen["marked"] == 1
    assert not seen["hidden"]
    assert seen["rising"] == sorted(seen["rising"])
    assert seen["falling"] == sorted(seen["falling"], reverse=True)
    firsts = [one.forecast["ttft_s"].mean for one in plan.candidates]
    assert seen["rising"] == pytest.approx(sorted(firsts))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_colours_are_those_of_light_or_dark(tmp_path: Path) -> None:
    page = render(small_plan(trials=8))
    dark = ["--blink-settings=preferredColorScheme=0"]
    for flags, colour in (((), "rgb(34, 122, 75)"), (dark, "rgb(85, 185, 133)")):
        folder = tmp_path / ("dark" if flags else "light")
        folder.mkdir()
        assert colour in look(folder, page, 1280, flags=flags)["colours"]
