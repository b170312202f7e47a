"""What the profiles of a scenario are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

from executor.inprocess.model_source import source_of
from executor.prompts.wording import wording_of
from profiles.store import content_hash
from profiles.subject import EngineSubject, PipelineSubject
from staircase.pipeline import Agent, Fork, Pipeline
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.spec.scenario import Scenario

WEIGHTS = ("*.safetensors", "*.bin")
# Of each file of weights so much is looked at: to read all of it would take minutes.
SAMPLED_BYTES = 1 << 16


def pipeline_subject(scenario: Scenario) -> PipelineSubject:
    """Of a quality or length profile."""
    pipeline, specs = scenario.pipeline.build(), _specs(scenario)
    return PipelineSubject(
        pipeline.answer,
        {agent.name: tuple(_sources(agent, pipeline)) for agent in pipeline},
        {
            agent.name: _of_agent(agent, _text_subject(specs[agent.engine]))
            for agent in pipeline
            if agent.has_engine
        },
    )


def _sources(agent: Agent, pipeline: Pipeline) -> Iterator[str]:
    for name in agent.reads:
        if agent.fork and name == agent.fork.source:
            yield f"{name} ({_start(agent.fork, pipeline[name])})"
        else:
            yield f"{name} (peer)" if name in agent.peers else name


def _start(fork: Fork, source: Agent) -> str:
    """What starts a branch, in words; those that usually hold are left out."""
    words = [f"item {fork.item}", f"sees {fork.sees}"]
    words += [fork.starts_when] if fork.starts_when != "complete" else []
    words += [fork.otherwise] if fork.otherwise != "never" else []
    # Of an agent they belong to what it writes.
    words += [f"by {source.items}"] if source.arrival else []
    return ", ".join(words)


def _of_agent(agent: Agent, subject: EngineSubject) -> EngineSubject:
    """What an agent writes depends on how it may think, who starts on what it is cut into."""
    more: dict[str, str | int] = {"items": agent.items} if agent.items else {}
    if agent.thinking is not None:
        more["thinking"] = json.dumps(asdict(agent.thinking), ensure_ascii=False)
    return replace(subject, settings={**subject.settings, **more}) if more else subject


def latency_subjects(scenario: Scenario) -> dict[str, EngineSubject]:
    """Of a latency profile, by engine."""
    return {name: _latency_subject(spec) for name, spec in _specs(scenario).items()}


def _specs(scenario: Scenario) -> dict[str, EngineSpec | OpenAISpec]:
    return {**scenario.real, **scenario.remote}


def _text_subject(spec: EngineSpec | OpenAISpec) -> EngineSubject:
    if isinstance(spec, OpenAISpec):
        content = _content(spec.scored_by, has_weights=True) if spec.scored_by else None
        scored = {"scored_by": spec.scored_by} if spec.scored_by else {}
        return EngineSubject(spec.kind, spec.model, content, {**form_settings(spec), **scored})
    content = _content(spec.model, has_weights=spec.weights == "file")
    return EngineSubject(
        spec.kind, spec.model, content, {"weights": spec.weights, **form_settings(spec)}
    )


def form_settings(spec: EngineSpec | OpenAISpec) -> dict[str, str]:
    """How its prompts are written: a name and the hash of its texts, or that of templates."""
    if not isinstance(spec.format, str):
        return {"format": f"templates {content_hash(spec.format.model_dump())}"}
    return {"format": spec.format, "wording": wording_of(spec, spec.format)}


def _latency_subject(spec: EngineSpec | OpenAISpec) -> EngineSubject:
    if isinstance(spec, OpenAISpec):
        host = urlsplit(spec.base_url).hostname or ""
        return EngineSubject(spec.kind, spec.model, settings={"base_url": host})
    # Random weights are as fast as others.
    settings: dict[str, str | int] = {
        "device": _kind_of_device(spec),
        "dtype": spec.dtype,
        "slots": spec.slots,
        "threads": spec.threads or "auto",
    }
    return EngineSubject(spec.kind, spec.model, _content(spec.model, False), settings)


def _kind_of_device(spec: EngineSpec) -> str:
    """``cuda:1`` is as fast as ``cuda``, and any ``cpu:N`` as another, but not as ``cpu``."""
    return spec.device.partition(":")[0] if spec.core is None else "cpu:N"


def _content(model: str, has_weights: bool) -> str | None:
    """Of the model's folder, if it is there: its config.json, and a part of its weights.

    A GGUF file holds both.
    """
    source = source_of(model)
    if source.file is not None:
        digest = hashlib.sha256(f"{source.file.stat().st_size}".encode())
        digest.update(_middle(source.file) if has_weights else b"")
        return digest.hexdigest()[:16]
    folder = Path(source.place)
    try:
        digest = hashlib.sha256((folder / "config.json").read_bytes())
        weights = (path for form in WEIGHTS for path in sorted(folder.glob(form)))
        for path in weights if has_weights else ():
            digest.update(f"{path.name} {path.stat().st_size}".encode())
            digest.update(_middle(path))
    except OSError:
        return None
    return digest.hexdigest()[:16]


def _middle(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        return file.read(SAMPLED_BYTES)
