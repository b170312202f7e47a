"""A scenario and the folder in which its results lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executor.inprocess.model_source import check_sources
from planner.figures.objectives import Limit, merged, parse_limits
from planner.profiling.lookups import lookup_words
from planner.profiling.subjects import latency_subjects, pipeline_subject
from profiles.catalog import find
from profiles.guessed_passes import GuessedTexts, texts_of
from profiles.latency.profile import LatencyProfile, load_latency
from profiles.lengths import LengthProfile, load_lengths
from profiles.quality.profile import QualityProfile, load_quality
from profiles.store import content_hash, stored_hash
from profiles.subject import differences
from simulator.figures import AskedFigures
from simulator.forecast import SimulatedForecaster
from simulator.profile_forecaster import (
    ProfileForecaster,
    perturbed_profile,
    resampled_workload,
    sampled_workload,
)
from simulator.robust import RobustForecaster
from simulator.workloads import workload_of
from staircase.errors import ModelError, ProfileError
from staircase.files import named_path
from staircase.spec.scenario import Scenario, load_scenario
from staircase.spec.simulated_spec import SimulatedSpec
from staircase.spec.strict import Strict, changed_spec
from staircase.spec.transform_spec import SpeculativeSpec
from staircase.workload import Workload

# The packages that have a say in a forecast.
FORECASTING = ("staircase", "profiles", "simulator")
# The replicate of a workload whose lengths and arrivals no search sees.
HELD_OUT = 1 << 20
# Where a search of the rate begins that nobody gave one.
FIRST_RATE_PER_S = 1.0


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
        """Raises InputError if the scenario is wrong, or names a model that is not there."""
        scenario = load_scenario(path)
        try:
            check_sources(scenario.scoring_models)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        return Workspace(scenario, path.parent, folder or Path("runs") / scenario.name)

    def with_plan(self, changes: Mapping[str, Any]) -> Workspace:
        """The same with some of the scenario's ``plan`` settings changed.

        Raises:
            ScenarioError: they are not what a file may say.
        """
        return self._with("plan", self.scenario.plan, changes)

    def _with(self, key: str, spec: Strict, changes: Mapping[str, Any]) -> Workspace:
        changed = changed_spec(key, spec, changes)
        return replace(self, scenario=self.scenario.model_copy(update={key: changed}))

    def with_limits(self, limits: Sequence[Limit]) -> Workspace:
        """The same with these limits of the search beside the scenario's, or in their place."""
        own = parse_limits(self.scenario.plan.limits, "plan.limits")
        return self.with_plan({"limits": {one.name: one.figure for one in merged(own, limits)}})

    def with_budget(self, budget_s: float | None) -> Workspace:
        """The same with another time budget for measuring latency."""
        if budget_s is None:
            return self
        return self._with("profile", self.scenario.profile, {"budget_s": budget_s})

    def with_requests(self, requests: int | None) -> Workspace:
        """The same with another number of simulated requests."""
        workload = self.scenario.workload
        if requests is None or workload is None:
            return self
        return self._with("workload", workload, {"requests": requests})

    @property
    def latency_path(self) -> Path:
        named = self.scenario.profile.latency
        return named_path(named, self.source) if named else self.folder / "latency.json"

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
        return named_path(named, self.source) if named else self.folder / "quality.json"

    @property
    def quality_samples_path(self) -> Path:
        """What was measured for a quality profile that is not finished."""
        return self.quality_path.with_suffix(".partial.jsonl")

    @property
    def lengths_path(self) -> Path:
        """How long texts are, where quality cannot be measured."""
        return self.folder / "lengths.json"

    @property
    def length_samples_path(self) -> Path:
        """What was measured of a length profile that is not finished."""
        return self.lengths_path.with_suffix(".partial.jsonl")

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.json"

    @property
    def validation_path(self) -> Path:
        return self.folder / "validation.json"

    @property
    def runs_path(self) -> Path:
        """Runs and scores of a validation that is not finished."""
        return self.folder / "validation.partial.jsonl"

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
        del scenario["serve"]
        key = {
            "scenario": scenario,
            "profiles": hashes or self.profile_hashes(),
            "code": sources_hash(),
        }
        return f"{self.scenario.name} {content_hash(key)}"

    @property
    def judgements_path(self) -> Path:
        return self.folder / "judgements.jsonl"

    def given_profiles(self) -> dict[str, Path]:
        """Profiles that the scenario names and that are there, by kind."""
        named = {
            "latency": (self.scenario.profile.latency, self.latency_path),
            "quality": (self.scenario.profile.quality, self.quality_path),
        }
        return {kind: path for kind, (name, path) in named.items() if name and path.is_file()}

    def latency(self) -> LatencyProfile:
        """The measured one, or what ``tune`` made of it."""
        self._existing(self.latency_path, "latency")
        return self._latency_in(self.used_latency_path)

    def measured_latency(self) -> LatencyProfile:
        return self._latency_in(self._existing(self.latency_path, "latency"))

    def quality(self) -> QualityProfile:
        path = self._existing(self.quality_path, "quality")
        found = load_quality(path)
        self._check_is_of(path, "quality", found.subject.unlike(pipeline_subject(self.scenario)))
        unknown = [one for one in self.scenario.plan.layouts if one not in found.layouts]
        known = f"of layouts {', '.join(found.layouts)}, and plan.layouts has {', '.join(unknown)}"
        self._check_is_of(path, "quality", known if unknown else None)
        return found

    def played(self) -> QualityProfile | LengthProfile | None:
        """Requests that were played, with quality if it is known.

        None where the scenario's workload stands for them.

        Raises:
            ProfileError: there is none, or it is of something else.
        """
        if self.quality_path.is_file():
            return self.quality()
        if self.scenario.workload is not None:
            return None
        return self.lengths() if self.lengths_path.is_file() else self.quality()

    def lengths(self) -> LengthProfile:
        path = self._existing(self.lengths_path, "lengths")
        found = load_lengths(path)
        self._check_is_of(path, "lengths", found.of.unlike(pipeline_subject(self.scenario)))
        return found

    @property
    def why_no_quality(self) -> str | None:
        """Why measured engines are planned without quality, in words; None if they are not."""
        if self.scenario.simulated:
            return None
        known = self.played()
        if known is None:
            return f"there is no {self.quality_path}"
        return known.why if isinstance(known, LengthProfile) else self.why_not_scored

    @property
    def why_not_scored(self) -> str | None:
        """Why no profile could forecast the quality of what the search tries, in words."""
        plan = self.scenario.plan
        if plan.has_windows:
            return "what a window drops (plan.window) is not in any profile of quality"
        if "keep" in plan.revision:
            return "what is kept on replaced words (plan.revision) is in no profile of quality"
        return None

    def _latency_in(self, path: Path) -> LatencyProfile:
        found = load_latency(path)
        unlike = next(differences(found.of, latency_subjects(self.scenario)), None)
        self._check_is_of(path, "latency", unlike)
        return found

    def _check_is_of(self, path: Path, kind: str, unlike: str | None) -> None:
        if unlike:
            raise ProfileError(f"{path}: is {unlike}; {self._remedy(kind)}")

    def _remedy(self, kind: str) -> str:
        if getattr(self.scenario.profile, kind, None):
            return f"name another file under profile.{kind}, or leave the key out and measure one"
        return "measure again with 'staircase profile SCENARIO'"

    def profile_forecaster(self, requests: int | None = None) -> ProfileForecaster:
        """Forecasts from the stored profiles; without one of quality, of the scenario's workload.

        Raises:
            ProfileError: a profile is missing.
        """
        return self.profile_forecaster_with(self.latency(), requests)

    def measured_forecaster(self) -> ProfileForecaster:
        """The same from the measured latency profile, though it may have been tuned."""
        return self.profile_forecaster_with(self.measured_latency())

    def profile_forecaster_with(
        self, latency: LatencyProfile, requests: int | None = None
    ) -> ProfileForecaster:
        spec = self.scenario
        count = requests or spec.plan.requests
        known = self.played()
        return ProfileForecaster(
            pipeline=spec.pipeline.build(),
            latency=latency,
            quality=(
                known if isinstance(known, QualityProfile) and not self.why_not_scored else None
            ),
            engines={**spec.real, **spec.remote},
            workload=(
                sampled_workload(known.samples, count) if known else self._given_workload(count)
            ),
            reading_rate=spec.plan.reading_rate,
            wanted=AskedFigures.of(spec.plan),
            guessed=self.guessed_texts(),
        )

    def guessed_texts(self) -> dict[str, GuessedTexts]:
        """By agent, in what passes texts were written that are guessed as they will be now."""
        known, now = self.played(), lookup_words(self.scenario)
        if known is None:
            return {}
        found = texts_of([sample.passes for sample in known.samples])
        return {
            agent: texts
            for agent, texts in found.items()
            if agent in now and known.lookups.get(agent) == now[agent]
        }

    def forecaster(self) -> ProfileForecaster | SimulatedForecaster | RobustForecaster:
        """What a search asks: the stored profiles, or the simulated engines and their workload."""
        robust = self.scenario.plan.robust
        if robust is None:
            return self._forecaster(0)
        forecasters = [self._forecaster(seed) for seed in range(1, robust.seeds + 1)]
        return RobustForecaster(forecasters, robust.quantile)

    def held_out(
        self, latency: LatencyProfile | None = None
    ) -> ProfileForecaster | SimulatedForecaster | None:
        """Judges schedules on requests that the search does not see; None if there are none.

        Args:
            latency: of measured engines; None: the stored profile.
        """
        count = self.scenario.plan.held_out.requests
        if not count:
            return None
        if self.scenario.simulated:
            more = self.with_requests(count).scenario
            return SimulatedForecaster.open(more, self.source, lengths=HELD_OUT)
        forecaster, known = self.profile_forecaster_with(latency or self.latency()), self.played()
        if known is None:
            return replace(forecaster, workload=self._given_workload(count, HELD_OUT))
        seen, left = self.scenario.plan.requests, len(known.samples)
        if left <= seen:
            return None
        unseen = sampled_workload(known.samples, min(count, left - seen), seen)
        return replace(forecaster, workload=unseen)

    def arriving(self, requests: int, seed: int) -> SimulatedForecaster:
        """On measured engines: so many requests that arrive at random, with noise of ``seed``."""
        return self._profile_forecaster(seed, requests).arriving(FIRST_RATE_PER_S, seed)

    def _forecaster(self, seed: int) -> ProfileForecaster | SimulatedForecaster:
        """With lengths, arrivals and noise of ``seed``; as the scenario stands for 0."""
        if self.scenario.simulated:
            return SimulatedForecaster.open(self.scenario, self.source, seed)
        return self._profile_forecaster(seed, self.scenario.plan.requests)

    def _profile_forecaster(self, seed: int, requests: int) -> ProfileForecaster:
        forecaster = self.profile_forecaster(requests)
        if not seed:
            return forecaster
        if self.played() is None:
            workload = self._given_workload(requests, seed)
        else:
            workload = resampled_workload(forecaster.workload, seed)
        return replace(
            forecaster, latency=perturbed_profile(forecaster.latency, seed), workload=workload
        )

    def _given_workload(self, requests: int, replicate: int = 0) -> Workload:
        spec = self.scenario.workload
        assert spec is not None
        counted = spec if spec.trace else spec.model_copy(update={"requests": requests})
        return workload_of(counted, self.scenario.pipeline.build(), self.source, replicate)

    def profile_hashes(self) -> dict[str, str]:
        """By kind, or for simulated engines by the engine; what was not measured has none."""
        if self.scenario.simulated:
            return self._simulated_hashes()
        paths = {"latency": self.used_latency_path, "quality": self.quality_path}
        if not self.quality_path.is_file() and self.scenario.workload is None:
            paths["lengths"] = self.lengths_path
        return {kind: stored_hash(path) for kind, path in paths.items() if path.is_file()}

    def _simulated_hashes(self) -> dict[str, str]:
        found = dict[str, str]()
        for name, engine in self.scenario.simulated.items():
            if engine.profile is not None:
                found[name] = stored_hash(find(engine.profile, self.source))
            transforms = engine.transforms if isinstance(engine, SimulatedSpec) else []
            for number, one in enumerate(transforms):
                if isinstance(one, SpeculativeSpec) and one.measured:
                    path = named_path(one.measured.profile, self.source)
                    found[f"{name}.transforms.{number}"] = stored_hash(path)
        return found

    def _existing(self, path: Path, kind: str) -> Path:
        if path.is_file():
            return path
        raise ProfileError(
            f"{path}: no {kind} profile; measure one with 'staircase profile SCENARIO'"
        )


def sources_hash() -> str:
    """Of all code that a forecast depends on."""
    root = Path(__file__).parents[1]
    files = [file for name in FORECASTING for file in sorted((root / name).rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
