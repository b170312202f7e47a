"""A scenario and the folder in which its results lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profiles.latency import LatencyProfile, load_latency
from profiles.quality import QualityProfile, load_quality
from profiles.store import stored_hash
from simulator.forecast import Forecaster
from staircase.errors import ProfileError
from staircase.scenario import Scenario, load_scenario


@dataclass(frozen=True)
class Workspace:
    """Where a scenario's files are.

    Attributes:
        source: folder of the scenario file, from which the paths in it are counted.
        folder: where results are written.
    """

    scenario: Scenario
    source: Path
    folder: Path

    @staticmethod
    def open(path: Path, folder: Path | None) -> Workspace:
        scenario = load_scenario(path)
        return Workspace(scenario, path.parent, folder or Path("runs") / scenario.name)

    def with_plan(self, changes: Mapping[str, Any]) -> Workspace:
        """The same with some of the scenario's ``plan`` settings changed."""
        spec = self.scenario.plan.model_copy(update=dict(changes))
        return replace(self, scenario=self.scenario.model_copy(update={"plan": spec}))

    def with_requests(self, requests: int | None) -> Workspace:
        """The same with another number of simulated requests."""
        workload = self.scenario.workload
        if requests is None or workload is None:
            return self
        changed = workload.model_copy(update={"requests": requests})
        return replace(self, scenario=self.scenario.model_copy(update={"workload": changed}))

    @property
    def latency_path(self) -> Path:
        named = self.scenario.profile.latency
        return self.source / named if named else self.folder / "latency.json"

    @property
    def quality_path(self) -> Path:
        named = self.scenario.profile.quality
        return self.source / named if named else self.folder / "quality.json"

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.json"

    @property
    def validation_path(self) -> Path:
        return self.folder / "validation.json"

    @property
    def report_path(self) -> Path:
        return self.folder / "report.html"

    @property
    def trace_path(self) -> Path:
        return self.folder / "trace.json"

    @property
    def judgements_path(self) -> Path:
        return self.folder / "judgements.jsonl"

    def latency(self) -> LatencyProfile:
        return load_latency(self._existing(self.latency_path, "latency"))

    def quality(self) -> QualityProfile:
        return load_quality(self._existing(self.quality_path, "quality"))

    def forecaster(self, requests: int | None = None) -> Forecaster:
        """Forecasts from the stored profiles."""
        spec = self.scenario
        return Forecaster(
            pipeline=spec.pipeline.build(),
            latency=self.latency(),
            quality=self.quality(),
            devices=self._devices(),
            requests=requests or spec.plan.requests,
            reading_rate=spec.plan.reading_rate,
        )

    def _devices(self) -> dict[str, str]:
        """Engines of one device take turns; every engine behind a server has one of its own."""
        local = {name: engine.device for name, engine in self.scenario.real.items()}
        return local | {name: f"server of {name}" for name in self.scenario.remote}

    def profile_hashes(self) -> dict[str, str]:
        return {
            "latency": stored_hash(self.latency_path),
            "quality": stored_hash(self.quality_path),
        }

    @staticmethod
    def _existing(path: Path, kind: str) -> Path:
        if not path.is_file():
            raise ProfileError(
                f"{path}: no {kind} profile; measure one with 'staircase profile SCENARIO'"
            )
        return path
