"""An embedded model against Bayes' rule: ``python -m executor.embedded.evaluate``.

Everything is played: correspondents write reports from held-out notes, the editor reads them by a
schedule. Beside its field accuracy stands that of Bayes' rule over the very claims that stood in
the editor's prompt when it wrote each value; and how many of its fields are those that it gives
after reading everything.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from executor.embedded import task
from executor.embedded.desk import PlayedBulletin, play
from executor.embedded.tasks import TASKS
from executor.embedded_models import MODEL_FOLDERS
from executor.inprocess.models import LoadedModel, load_model
from staircase.schedule import LAYOUTS, Layout, Schedule, parse_staircase

# What is read: so many tokens of each report, then the whole bulletin is written; staircases; all.
READS = (
    *(f"steps:{level}/128" for level in (0, 8, 16, 24, 32, 48, 64, 96, 128)),
    *("constant:4,4,2", "constant:8,8,8", "constant:24,8,8", "geometric:2,2,64,4"),
    *("constant:12,12,10", "constant:24,12,10", "constant:36,12,10", "constant:60,12,10"),
    "normal",
)


def draw_bulletins(one: task.Task, requests: int, correspondents: int) -> list[task.Bulletin]:
    rng = random.Random(f"evaluate {correspondents}")
    names = one.correspondents[:correspondents]
    return [one.draw_bulletin(rng, names) for _ in range(requests)]


def summary(games: Sequence[PlayedBulletin]) -> Table:
    """All that was read: the desk beside each report alone and beside Bayes' rule."""
    alone = np.array([[game.alone(name) for name in game.reports] for game in games])
    faithful = [
        [game.reports[name] == text for name, text in game.bulletin.reports().items()]
        for game in games
    ]
    scores = np.array([game.score for game in games])
    ceilings = np.array([game.ceiling for game in games])
    table = Table("all read", f"{len(games)} requests")
    for name, values in {
        "best single report": alone[:, alone.mean(axis=0).argmax()],
        "best report of each request, in hindsight": alone.max(axis=1),
        "editor": scores,
        "Bayes' rule over the same reports": ceilings,
        "editor less Bayes' rule": scores - ceilings,
        "reports that tell their notes word by word": np.mean(faithful, axis=1),
    }.items():
        table.add_row(name, f"{values.mean():.3f} ± {values.std() / len(values) ** 0.5:.3f}")
    return table


def cell(games: Sequence[PlayedBulletin]) -> str:
    score = np.mean([game.score for game in games])
    ceiling = np.mean([game.ceiling for game in games])
    return f"{score:.3f} / {ceiling:.3f}"


def agreement(games: Sequence[PlayedBulletin], told: Sequence[PlayedBulletin]) -> float:
    """Share of the fields that are given as after reading everything."""
    pairs = zip(games, told, strict=True)
    return float(np.mean([task.shared_fields(one.told, full.told) for one, full in pairs]))


def reads_table(model: LoadedModel, told: Sequence[PlayedBulletin], reads: Sequence[str]) -> Table:
    """What is read in which layout: the editor / Bayes' rule, agreement."""
    bulletins = [game.bulletin for game in told]
    cells: dict[tuple[str, Layout], str] = {}
    cases: list[tuple[str, Layout]] = [(read, one) for read in reads for one in LAYOUTS]
    for read, layout in track(cases, "schedules", transient=True):
        one = (read, _like(read, layout))
        if one not in cells:
            schedule = Schedule({"editor": parse_staircase(read)}, layout)
            games = play(model, bulletins, schedule, told)
            cells[one] = f"{cell(games)}, {agreement(games, told):.3f}"
    table = Table("read", *LAYOUTS)
    for read in reads:
        table.add_row(read, *(cells[read, _like(read, layout)] for layout in LAYOUTS))
    return table


def _like(read: str, layout: Layout) -> Layout:
    """A layout with the same prompts: what is read at once stands before all writing."""
    is_at_once = read.startswith(("steps", "normal"))
    return "append_rounds" if is_at_once and layout != "rebuild" else layout


def sizes_table(model: LoadedModel, one: task.Task, requests: int) -> Table:
    table = Table("correspondents, all read", "editor / Bayes' rule")
    for size in range(2, len(one.correspondents) + 1):
        bulletins = draw_bulletins(one, requests, size)
        table.add_row(str(size), cell(play(model, bulletins, Schedule())))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODEL_FOLDERS, default="embedded")
    parser.add_argument("--folder", type=Path, help="where its weights lie, if not as shipped")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--reads", nargs="+", default=READS, help="schedules of the editor")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    one, folder = TASKS[arguments.model], arguments.folder or MODEL_FOLDERS[arguments.model]
    model, console = load_model(str(folder), "cpu", "float32"), Console(width=120)
    told = play(model, draw_bulletins(one, arguments.requests, 3), Schedule())
    console.print(summary(told))
    console.print(sizes_table(model, one, arguments.requests))
    console.print(reads_table(model, told, arguments.reads))


if __name__ == "__main__":
    main()
