"""A profile says what it is of: that of something else is refused, and what is given is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.subjects import latency_subjects, pipeline_subject
from planner.workspace import Workspace
from profiles.latency import LatencyProfile, save_latency
from profiles.lengths import LengthProfile, LengthSample, save_lengths
from profiles.quality import QualityProfile, QualitySample, save_quality
from profiles.store import provenance_of_now
from profiles.subject import PipelineSubject
from staircase.errors import ProfileError
from staircase.scenario import load_scenario
from tests.test_cli import DEMO, staircase
from tests.test_tune import measured_profile


def demo(folder: Path, **changes: Any) -> Path:
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(DEMO.read_text()), **changes}))
    return path


def quality(of: PipelineSubject | None, agents: tuple[str, ...]) -> QualityProfile:
    sample = QualitySample({}, dict.fromkeys(agents, 9), {})
    sources = {agents[-1]: agents[:-1]}
    return QualityProfile((0, 8), 2, sources, (sample,), provenance_of_now(), of=of)


AGENTS = ("north", "south", "east", "editor")
# What of the demo's pipeline is otherwise in another profile, and how it is told.
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "agents": ({"reads": {"a": (), "z": ("a",)}}, "of agents a, z, here they are north"),
    "reads": (
        {"reads": {"north": (), "south": (), "east": (), "editor": ("north",)}},
        "'editor' reads north, here it reads north, south, east",
    ),
    "answer": ({"answer": "east"}, "that 'east' answers, here 'editor' does"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", ["quality", "lengths"])
def test_a_profile_of_another_pipeline_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    changes, told = OTHERS[name]
    work = Workspace.open(demo(tmp_path), tmp_path)
    of = replace(pipeline_subject(work.scenario), **changes)
    if kind == "quality":
        save_quality(work.quality_path, quality(of, AGENTS))
    else:
        sample = LengthSample({}, dict.fromkeys(AGENTS, 9))
        save_lengths(work.lengths_path, LengthProfile((sample,), "", of, provenance_of_now()))
    with pytest.raises(ProfileError, match=f"{kind}.json: is .*{told}.*; measure anew"):
        work.played()


def test_files_of_before_are_known_by_their_agents(tmp_path: Path) -> None:
    work = Workspace.open(demo(tmp_path), tmp_path)
    save_quality(work.quality_path, quality(None, AGENTS))
    assert work.quality().of is None
    save_quality(work.quality_path, quality(None, ("a", "z")))
    with pytest.raises(ProfileError, match="of agents a, z"):
        work.quality()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("model", "/models/other", "of model '/models/other', here it is 'embedded'"),
        ("content", "0123", "with other files than there are now"),
        ("settings", {"dtype": "bfloat16"}, "with dtype: bfloat16, here it is float32"),
        ("settings", {"slots": 4}, "with slots: 4, here it is 1"),
    ],
)
def test_a_latency_profile_of_other_engines_is_refused(
    tmp_path: Path, field: str, value: Any, told: str
) -> None:
    work = Workspace.open(demo(tmp_path), tmp_path)
    of = latency_subjects(work.scenario)
    engines = dict.fromkeys(of, measured_profile())
    found = LatencyProfile(engines, provenance_of_now(), of=of)
    save_latency(work.latency_path, found)
    assert work.latency().engines == engines
    changed = replace(of["north"], **{field: value})
    save_latency(work.latency_path, replace(found, of={**of, "north": changed}))
    with pytest.raises(ProfileError, match=f"latency.json: is for 'north' .*{told}"):
        work.latency()


def test_a_server_of_the_same_agents_takes_what_was_measured_in_process(tmp_path: Path) -> None:
    there = pipeline_subject(load_scenario(demo(tmp_path)))
    engine = {"kind": "openai", "base_url": "http://h/v1", "model": "served"}
    far = pipeline_subject(load_scenario(demo(tmp_path, engines=dict.fromkeys(AGENTS, engine))))
    assert there.unlike(far) is None


@pytest.mark.parametrize("kind", ["latency", "quality"])
def test_a_file_that_the_scenario_names_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    path, given = demo(tmp_path, profile={kind: "mine.json"}), tmp_path / "mine.json"
    given.write_text("mine")
    done = staircase("profile", str(path), "--only", kind, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert f"profile.{kind}: {given} is there and is not overwritten" in done.stderr
    assert done.stderr.count("\n") == 1
    assert given.read_text() == "mine"


def test_where_all_is_given_nothing_is_measured(tmp_path: Path) -> None:
    path = demo(tmp_path, profile={"latency": "a.json", "quality": "b.json"})
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("mine")
    done = staircase("profile", str(path), "--json", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout.strip()) == (0, "{}")
    assert done.stderr.count("used as it is") == 2
