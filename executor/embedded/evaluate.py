"""The embedded model against the task's ceiling: ``python -m executor.embedded.evaluate``."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from executor.embedded import MODEL_FOLDER, samples, task
from executor.models import LoadedModel, load_model
from executor.rendering import encode_texts, fixed_texts, render
from staircase.pipeline import Agent
from staircase.prompt import Round, build_prompt

NAMES = ("north", "south", "east")
STYLES = (1, 2, 3)
READ_LEVELS = (0, 8, 16, 24, 32, 48, 64, 200)


@torch.inference_mode()
def write(model: LoadedModel, reports: Sequence[str]) -> str:
    """The bulletin that the model writes from ``reports``, as far as they are given."""
    agent = Agent("editor", reads=NAMES, role=samples.EDITOR_ROLE)
    ids = encode_texts(fixed_texts(agent, samples.EDITOR_QUERY, samples.FORMAT), model.encode)
    ids |= {name: model.encode(text) for name, text in zip(NAMES, reports, strict=True)}
    fixed = {name: len(tokens) for name, tokens in ids.items()}
    read = Round(tuple(len(ids[name]) for name in NAMES), 0)
    prompt = render(build_prompt("editor", NAMES, [read], 0, "rebuild", fixed), ids)
    output = model.network.generate(
        torch.tensor([prompt]), max_new_tokens=64, do_sample=False, pad_token_id=0
    )
    return model.decode(output[0, len(prompt) :].tolist())


def accuracies(model: LoadedModel, requests: int, level: int) -> tuple[float, float]:
    """Field accuracy of the model and of Bayes' rule with ``level`` words of each report."""
    rng, hits, best = random.Random(f"evaluate {level}"), 0.0, 0.0
    for _ in track(range(requests), f"{level} words read", transient=True):
        bulletin = task.draw_bulletin(rng, NAMES, STYLES)
        cut = [" ".join(text.split()[:level]) for text in bulletin.reports().values()]
        hits += task.field_accuracy(write(model, cut), bulletin.record)
        claims = [claim for text in cut for claim in task.read_claims(text.split())]
        ideal = task.bulletin_text(task.bayes_bulletin(claims))
        best += task.field_accuracy(ideal, bulletin.record)
    return hits / requests, best / requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--requests", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(str(arguments.model), "cpu", "float32")
    table = Table("words read of each report", "model", "Bayes' rule")
    for level in READ_LEVELS:
        scores = accuracies(model, arguments.requests, level)
        table.add_row(str(level), *(f"{score:.3f}" for score in scores))
    Console().print(table)


if __name__ == "__main__":
    main()
