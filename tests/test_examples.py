"""What the examples come to: golden files, so that no change of a figure goes unseen.

    UPDATE_GOLDEN=1 pytest tests/test_examples.py

writes them anew; the diff says what a change did.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import ROOT, staircase

GOLDEN = ROOT / "tests" / "golden"
SIMULATED = (
    "catalogue",
    "debate",
    "endpoints",
    "forks",
    "heard",
    "other_hardware",
    "paper_moa",
    "peers",
    "systems/apr",
    "systems/hogwild",
    "systems/livemind",
    "systems/multiverse",
    "systems/predgen",
    "systems/speak_while_watching",
    "systems/stream2llm",
    "systems/stream_ma",
    "systems/streaming_thinker",
    "systems/think_as_you_see",
    "systems/thread_weaver",
    "systems/window",
    "trigger",
    "two_layers",
    "typed_question",
    "vote",
)
# The last digits of a mean may differ from one numpy to another.
EXACT = 1e-9


def printed(*words: str) -> Any:
    done = staircase(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(name: str, found: Any) -> None:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    golden = json.loads(path.read_text())
    assert flat(found).keys() == flat(golden).keys()
    assert flat(found) == {
        place: pytest.approx(value, rel=EXACT, nan_ok=True) if type(value) is float else value
        for place, value in flat(golden).items()
    }


def flat(content: Any, place: str = "") -> dict[str, Any]:
    """Values by their place."""
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = dict(enumerate(content)).items()
    else:
        return {place: content}
    return {p: v for key, value in items for p, v in flat(value, f"{place}/{key}").items()}


# In a vote nobody reads in steps.
PLAYED = [
    (name, word)
    for name in SIMULATED
    for word in ("normal", "constant:32,64,48")
    if name != "vote" or word == "normal"
]


@pytest.mark.parametrize(("name", "staircase_word"), PLAYED)
def test_simulation(name: str, staircase_word: str) -> None:
    words = ["simulate", f"examples/{name}.yaml", "--requests", "6"]
    found = printed(*words, "--staircase", staircase_word)
    shown = name.replace("/", "-")
    check(f"simulate-{shown}-{staircase_word.partition(':')[0]}", found["forecast"])


def test_a_vote_that_is_decided_early() -> None:
    words = ["simulate", "examples/vote.yaml", "--requests", "40"]
    found = printed(*words, "--barrier", "ahead:2", "--at-once", "4")
    check("simulate-vote-ahead", found["forecast"])


def test_plan(tmp_path: Path) -> None:
    words = ["--trials", "24", "--seed", "3", "--out", str(tmp_path)]
    found = printed("plan", "examples/paper_moa.yaml", *words)["named"]
    check(
        "plan-paper_moa",
        {
            name: {"schedule": one["schedule"], "ttft_s": one["forecast"]["ttft_s"]["mean"]}
            for name, one in found.items()
        },
    )


def test_every_simulated_example_has_one() -> None:
    folder = ROOT / "examples"
    paths = [*folder.glob("*.yaml"), *(folder / "systems").glob("*.yaml")]
    kinds = {str(path.relative_to(folder).with_suffix("")): path.read_text() for path in paths}
    words = ("kind: simulated", "kind: endpoint")
    simulated = {name for name, text in kinds.items() if any(word in text for word in words)}
    # Of placement the variants are planned (`test_variants`).
    assert simulated == {*SIMULATED, "placement"}
