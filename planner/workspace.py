"""A scenario and the folder in which its results lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profiles.catalog import find
from profiles.latency import LatencyProfile, load_latency
from profiles.quality import QualityProfile, load_quality
from profiles.store import content_hash, stored_hash
from simulator.figures import Wanted
from simulator.forecast import SimulatedWorld
from simulator.forecaster import (
    Forecaster,
    redrawn_workload,
    sampled_workload,
    shaken_profile,
)
from simulator.robust import RobustWorld
from simulator.setups import workload_of
from staircase.errors import ProfileError
from staircase.scenario import Scenario, load_scenario
from staircase.workload import Workload

# The packages that have a say in a forecast.
FORECASTING = ("staircase", "profiles", "simulator")
# The replicate of a workload whose lengths and arrivals no search sees.
HELD_OUT = 1 << 20


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

    def with_limits(self, limits: Mapping[str, float]) -> Workspace:
        """The same with these limits of the search beside the scenario's, or in their place."""
        return self.with_plan({"limits": {**self.scenario.plan.limits, **limits}})

    def with_budget(self, budget_s: float | None) -> Workspace:
        """The same with another time budget for measuring latency."""
        if budget_s is None:
            return self
        spec = self.scenario.profile.model_copy(update={"budget_s": budget_s})
        return replace(self, scenario=self.scenario.model_copy(update={"profile": spec}))

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
    def tuned_path(self) -> Path:
        """The latency profile that ``tune`` corrected."""
        return self.folder / "latency.tuned.json"

    @property
    def used_latency_path(self) -> Path:
        """The tuned profile where there is one of the measured one, else that."""
        tuned, measured = self.tuned_path, self.latency_path
        if not tuned.is_file() or not measured.is_file():
            return measured
        tuning = load_latency(tuned).tuning
        return tuned if tuning and tuning.base == stored_hash(measured) else measured

    @property
    def samples_path(self) -> Path:
        """What was measured for a latency profile that is not finished."""
        return self.latency_path.with_suffix(".partial.jsonl")

    @property
    def quality_path(self) -> Path:
        named = self.scenario.profile.quality
        return self.source / named if named else self.folder / "quality.json"

    @property
    def quality_samples_path(self) -> Path:
        """What was measured for a quality profile that is not finished."""
        return self.quality_path.with_suffix(".partial.jsonl")

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
    def tuning_path(self) -> Path:
        """Runs of a tuning that is not finished."""
        return self.folder / "tuning.partial.jsonl"

    @property
    def trials_path(self) -> Path:
        """The journal of a search that has no storage of its own."""
        return self.folder / "trials.journal"

    @property
    def storage(self) -> str:
        """Where the search's trials are kept: an address, or the path of a journal."""
        named = self.scenario.plan.storage
        if named is None:
            return str(self.trials_path)
        return named if "://" in named else str(self.source / named)

    def search_name(self, hashes: Mapping[str, str] | None = None) -> str:
        """Changes with everything that a forecast and what is wanted of it depend on.

        Args:
            hashes: of profiles; None: of the stored ones.
        """
        scenario = self.scenario.model_dump(mode="json")
        for effort in ("trials", "seed", "sampler", "storage"):
            del scenario["plan"][effort]
        key = {
            "scenario": scenario,
            "profiles": hashes or self.profile_hashes(),
            "code": sources_hash(),
        }
        return f"{self.scenario.name} {content_hash(key)}"

    @property
    def judgements_path(self) -> Path:
        return self.folder / "judgements.jsonl"

    def latency(self) -> LatencyProfile:
        """The measured one, or what ``tune`` made of it."""
        self._existing(self.latency_path, "latency")
        return load_latency(self.used_latency_path)

    def measured_latency(self) -> LatencyProfile:
        return load_latency(self._existing(self.latency_path, "latency"))

    def quality(self) -> QualityProfile:
        return load_quality(self._existing(self.quality_path, "quality"))

    def forecaster(self, requests: int | None = None) -> Forecaster:
        """Forecasts from the stored profiles; without one of quality, of the scenario's workload.

        Raises:
            ProfileError: a profile is missing.
        """
        return self.forecaster_with(self.latency(), requests)

    def measured_forecaster(self) -> Forecaster:
        """The same from the measured latency profile, though it may have been tuned."""
        return self.forecaster_with(self.measured_latency())

    def forecaster_with(self, latency: LatencyProfile, requests: int | None = None) -> Forecaster:
        spec = self.scenario
        count = requests or spec.plan.requests
        quality = None if self._has_lengths_only() else self.quality()
        return Forecaster(
            pipeline=spec.pipeline.build(),
            latency=latency,
            quality=quality,
            engines={**spec.real, **spec.remote},
            workload=sampled_workload(quality, count) if quality else self._given_workload(count),
            reading_rate=spec.plan.reading_rate,
            wanted=Wanted.of(spec.plan),
        )

    def judge(self) -> Forecaster | SimulatedWorld | RobustWorld:
        """What a search asks: the stored profiles, or the simulated engines and their workload."""
        robust = self.scenario.plan.robust
        if robust is None:
            return self._world(0)
        worlds = [self._world(seed) for seed in range(1, robust.seeds + 1)]
        return RobustWorld(worlds, robust.quantile)

    def held_out(self) -> Forecaster | SimulatedWorld | None:
        """Judges schedules on requests that the search does not see; None if there are none."""
        count = self.scenario.plan.held_out.requests
        if not count:
            return None
        if self.scenario.simulated:
            more = self.with_requests(count).scenario
            return SimulatedWorld.open(more, self.source, lengths=HELD_OUT)
        world = self.forecaster()
        if world.quality is None:
            return replace(world, workload=self._given_workload(count, HELD_OUT))
        seen, known = self.scenario.plan.requests, len(world.quality.samples)
        if known <= seen:
            return None
        unseen = sampled_workload(world.quality, min(count, known - seen), seen)
        return replace(world, workload=unseen)

    def _world(self, seed: int) -> Forecaster | SimulatedWorld:
        """With lengths, arrivals and noise of ``seed``; as the scenario stands for 0."""
        if self.scenario.simulated:
            return SimulatedWorld.open(self.scenario, self.source, seed)
        world = self.forecaster()
        if not seed:
            return world
        if world.quality is None:
            workload = self._given_workload(self.scenario.plan.requests, seed)
        else:
            workload = redrawn_workload(world.workload, seed)
        return replace(world, latency=shaken_profile(world.latency, seed), workload=workload)

    def _has_lengths_only(self) -> bool:
        return self.scenario.workload is not None and not self.quality_path.is_file()

    def _given_workload(self, requests: int, replicate: int = 0) -> Workload:
        spec = self.scenario.workload
        assert spec is not None
        counted = spec if spec.trace else spec.model_copy(update={"requests": requests})
        return workload_of(counted, self.scenario.pipeline.build(), self.source, replicate)

    def profile_hashes(self) -> dict[str, str]:
        """By kind, or for simulated engines by the engine; what was not measured has none."""
        if self.scenario.simulated:
            return {
                name: stored_hash(find(engine.profile, self.source))
                for name, engine in self.scenario.simulated.items()
                if engine.profile is not None
            }
        paths = {"latency": self.used_latency_path, "quality": self.quality_path}
        return {kind: stored_hash(path) for kind, path in paths.items() if path.is_file()}

    def _existing(self, path: Path, kind: str) -> Path:
        if path.is_file():
            return path
        how = "measure one with 'staircase profile SCENARIO'"
        if kind == "quality" and self.scenario.remote:
            how = "measure one with in-process engines and name it under profile: quality"
        raise ProfileError(f"{path}: no {kind} profile; {how}")


def sources_hash() -> str:
    """Of all code that a forecast depends on."""
    root = Path(__file__).parents[1]
    files = [file for name in FORECASTING for file in sorted((root / name).rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
