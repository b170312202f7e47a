"""A profile says what it is of: that of something else is refused, and what is given is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor.tokens.rendering import PromptFormat
from planner.profiling.latency_profiling import keys_of, requests_key
from planner.profiling.subjects import latency_subjects, pipeline_subject
from planner.workspace import Workspace
from profiles.latency.profile import LatencyProfile, save_latency
from profiles.lengths import LengthProfile, LengthSample, save_lengths
from profiles.quality.profile import QualityProfile, QualitySample, QualitySurface, save_quality
from profiles.store import provenance_of_now
from profiles.subject import EngineSubject, PipelineSubject
from staircase.errors import ProfileError
from staircase.spec.scenario import load_scenario
from tests.support.command_line import staircase
from tests.test_cli import DEMO
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
    with pytest.raises(ProfileError, match=f"{kind}.json: is .*{told}.*; measure again"):
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


@pytest.mark.parametrize(
    ("measured", "changes", "told"),
    [
        ({}, {"device": "cpu:0"}, "with device: cpu, here it is cpu:N"),
        ({"device": "cpu:0"}, {"device": "cpu"}, "with device: cpu:N, here it is cpu"),
        ({}, {"threads": 2}, "with threads: auto, here it is 2"),
        ({"threads": 2}, {"threads": None}, "with threads: 2, here it is auto"),
    ],
)
def test_so_is_that_of_another_device_or_other_threads(
    tmp_path: Path, measured: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    engine = {"model": "embedded", "device": "cpu", **measured}
    before = latency_subjects(load_scenario(demo(tmp_path, engines=dict.fromkeys(AGENTS, engine))))
    engine = {**engine, **changes}
    now = latency_subjects(load_scenario(demo(tmp_path, engines=dict.fromkeys(AGENTS, engine))))
    assert before["north"].unlike(before["east"]) is None
    assert before["north"].unlike(now["north"]) == told


def test_devices_of_a_kind_are_alike(tmp_path: Path) -> None:
    for one, other in (("cpu:0", "cpu:1"), ("cuda", "cuda:1")):
        engines = {name: {"model": "embedded", "device": one} for name in AGENTS}
        engines["east"]["device"] = other
        of = latency_subjects(load_scenario(demo(tmp_path, engines=engines)))
        assert of["north"].unlike(of["east"]) is None


def test_what_one_side_does_not_say_is_not_taken_to_be_alike() -> None:
    said, unsaid = EngineSubject("a", "m", settings={"slots": 1}), EngineSubject("a", "m")
    assert said.unlike(unsaid) == "with slots: 1, here it is unknown"
    assert unsaid.unlike(said) == "with slots: unknown, here it is 1"


KINDS: dict[str, dict[str, Any]] = {
    "in process": {"model": "embedded"},
    "server": {"kind": "openai", "base_url": "http://h/v1", "model": "served"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_formats_tell_played_texts_apart_but_not_latency(tmp_path: Path, kind: str) -> None:
    formats = ("auto", "plain", {"own": "Answer: "}, {"own": "Reply: "})
    scenarios = [
        load_scenario(
            demo(tmp_path, engines={name: {**KINDS[kind], "format": written} for name in AGENTS})
        )
        for written in formats
    ]
    assert len(set(map(requests_key, scenarios))) == len(formats)
    assert len({tuple(keys_of(one).items()) for one in scenarios}) == 1
    assert latency_subjects(scenarios[0]) == latency_subjects(scenarios[1])
    one, other, *_ = map(pipeline_subject, scenarios)
    assert one.unlike(other) == "for 'north' with format: auto, here it is plain"


OLDER = PromptFormat(label="older")
# An engine, and which of its texts were others before.
WORDED: dict[str, tuple[dict[str, Any], str, Any]] = {
    "embedded": ({"model": "embedded"}, "executor.prompts.wording.FORMAT", OLDER),
    "auto": ({"model": "some/model"}, "executor.tokens.chat_template.REQUEST", "older"),
    "plain": (
        {"model": "some/model", "format": "plain"},
        "executor.prompts.wording.PromptFormat",
        lambda: OLDER,
    ),
    "server": (KINDS["server"], "executor.tokens.chat_template.LABEL", "older"),
}


@pytest.mark.parametrize("kind", WORDED)
def test_a_quality_profile_of_an_older_wording_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    engine, place, before = WORDED[kind]
    path = demo(tmp_path, engines=dict.fromkeys(AGENTS, engine))
    work = Workspace.open(path, tmp_path)
    of, key = pipeline_subject(work.scenario), requests_key(work.scenario)
    now = of.models["north"].settings["wording"]
    unsaid = {
        name: replace(one, settings={k: v for k, v in one.settings.items() if k != "wording"})
        for name, one in of.models.items()
    }
    save_quality(work.quality_path, quality(of, AGENTS))
    assert work.quality().of == of
    save_quality(work.quality_path, quality(replace(of, models=unsaid), AGENTS))
    with pytest.raises(ProfileError, match=f"with wording: unknown, here it is {now}; measure"):
        work.quality()
    with monkeypatch.context() as patch:
        patch.setattr(place, before)
        found = pipeline_subject(work.scenario)
        assert requests_key(work.scenario) != key
    save_quality(work.quality_path, quality(found, AGENTS))
    with pytest.raises(ProfileError, match=f"for 'north' with wording: .*, here it is {now}; me"):
        work.quality()


def test_templates_of_the_users_own_depend_on_no_wording_here(tmp_path: Path) -> None:
    engine = {"model": "some/model", "format": {"own": "Reply: "}}
    of = pipeline_subject(load_scenario(demo(tmp_path, engines=dict.fromkeys(AGENTS, engine))))
    assert of.models["north"].settings.keys() == {"weights", "format"}


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


def test_a_quality_profile_of_fewer_layouts_than_the_plan_has_is_told(tmp_path: Path) -> None:
    work = Workspace.open(DEMO, tmp_path)
    rows = ((0.0,), (0.0,))
    surface = QualitySurface(rows, ((1.0,), (1.0,)), rows)
    sample = QualitySample({}, {}, {"editor": {"append_rounds": surface}})
    sources: dict[str, tuple[str, ...]] = {"editor": ("north", "south", "east")}
    of = pipeline_subject(work.scenario)
    save_quality(
        work.quality_path,
        QualityProfile((0,), 8, sources, (sample,), provenance_of_now(), of=of),
    )
    less = work.with_plan({"layouts": ["append_rounds"]})
    assert less.quality().layouts == ("append_rounds",)
    with pytest.raises(ProfileError, match=r"is of layouts append_rounds, and plan\.layouts has "):
        work.with_plan({"layouts": ["rebuild", "append_rounds"]}).quality()


def test_what_an_agent_may_think_is_part_of_a_profile(tmp_path: Path) -> None:
    def subject(budget: int | None) -> PipelineSubject:
        content = yaml.safe_load(DEMO.read_text())
        agents = content["pipeline"].setdefault("agents", {})
        if budget:
            agents.setdefault("editor", {})["thinking"] = {"budget": budget}
        path = tmp_path / "scenario.yaml"
        path.write_text(yaml.safe_dump(content))
        return pipeline_subject(load_scenario(path))

    plain, short, long = subject(None), subject(9), subject(99)
    assert plain.unlike(subject(None)) is None
    for one, other in ((plain, short), (short, plain), (short, long)):
        words = one.unlike(other)
        assert words
        assert "with thinking: " in words
