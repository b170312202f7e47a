"""Measurements of others as profiles: every format, and what may be picked from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiles.catalog import AnyProfile
from profiles.hardware.known_models import model_shape
from profiles.importers.aiconfigurator import read_aiconfigurator
from profiles.importers.deployment import Deployment, Link
from profiles.importers.load_tests import read_aiperf, read_guidellm, read_vllm_bench
from profiles.importers.splitwise import GridProfile, read_splitwise
from profiles.importers.whole_iterations import profile_of_bundle, profile_of_vidur
from profiles.latency.endpoint import EndpointProfile
from profiles.latency.profile import (
    DecodePoint,
    EngineProfile,
    LatencyProfile,
    PrefillPoint,
    fit_engine,
)
from profiles.store import imported
from staircase.errors import ProfileError, TooFewPointsError


@dataclass(frozen=True)
class Picks:
    """What to take of a file that holds more, and what a file does not say.

    Attributes:
        tp: tensor parallelism.
        layers: of the model whose kernels were measured, if ``model`` is not a known one.
        overhead_s: of an engine's host, added to each iteration of kernels.
        link_gb_per_s, link_latency_s: between devices in tensor parallel: in one direction, and
            what any message takes besides.
        run: number of a benchmark in a file of several, from 1.
    """

    model: str | None = None
    hardware: str | None = None
    tp: int | None = None
    layers: int | None = None
    overhead_s: float | None = None
    link_gb_per_s: float | None = None
    link_latency_s: float | None = None
    run: int | None = None

    @property
    def given(self) -> list[str]:
        return [name for name, value in vars(self).items() if value is not None]

    def fits(self, model: str, hardware: str, tensor_parallel: int) -> bool:
        return (
            self.model in (None, model)
            and self.hardware in (None, hardware)
            and self.tp in (None, tensor_parallel)
        )


@dataclass(frozen=True)
class Format:
    """``takes`` are the picks that mean something to it."""

    takes: tuple[str, ...]
    read: Callable[[Path, Picks], AnyProfile]


def import_profile(form: str, path: Path, picks: Picks) -> AnyProfile:
    """The profile in ``path``, a file or a folder in the format ``form``.

    Raises:
        ProfileError, RecordError: no such format, a pick that it does not take, or a wrong file.
    """
    if form not in FORMATS:
        raise ProfileError(f"format {form!r} is not known; known: {', '.join(FORMATS)}")
    for name in picks.given:
        if name not in FORMATS[form].takes:
            takes = ", ".join(map(_option, FORMATS[form].takes)) or "none"
            raise ProfileError(f"{form} does not take {_option(name)}; it takes {takes}")
    try:
        return FORMATS[form].read(path, picks)
    except TooFewPointsError as error:
        raise ProfileError(f"{path}: {error}") from None


def _option(pick: str) -> str:
    return f"--{pick.replace('_', '-')}"


def _splitwise(path: Path, picks: Picks) -> LatencyProfile:
    engines = {}
    for setup, grid in read_splitwise(path).items():
        if picks.fits(setup.model, setup.hardware, setup.tensor_parallel):
            name = f"{setup.model}-{setup.hardware}-tp{setup.tensor_parallel}"
            engines[name] = profile_of_grid(grid)
    return _latency(path, engines, "Splitwise", picks)


def profile_of_grid(grid: GridProfile) -> EngineProfile:
    """Medians over repetitions; of a prefill also over how much was written after it."""
    by_sizes: dict[tuple[int, int], list[float]] = {}
    for point in grid.points:
        by_sizes.setdefault((point.prompt, point.batch), []).append(point.prefill_s)
    return fit_engine(
        [PrefillPoint(p, 0, float(np.median(s)), 0.0, 1.0, b) for (p, b), s in by_sizes.items()],
        [
            DecodePoint(p.batch, round(p.batch * p.context), p.decode_s, 0.0, 1.0)
            for p in grid.points
        ],
        0.0,
    )


def _aiconfigurator(path: Path, picks: Picks) -> LatencyProfile:
    engines = {}
    for setup, points in read_aiconfigurator(path).items():
        if picks.fits(setup.model, setup.system, setup.tensor_parallel):
            name = f"{setup.model}-{setup.system}-tp{setup.tensor_parallel}"
            engines[name] = _fitted(path, name, points.prefill, points.decode)
    return _latency(path, engines, "aiconfigurator (modelled)", picks)


def _fitted(
    path: Path, name: str, prefill: list[PrefillPoint], decode: list[DecodePoint]
) -> EngineProfile:
    try:
        return fit_engine(prefill, decode, 0.0)
    except ProfileError as error:
        raise ProfileError(f"{path}: {name}: {error}") from None


def _kernels(
    source: str, profile_of: Callable[[Path, Deployment, float], EngineProfile]
) -> Callable[[Path, Picks], LatencyProfile]:
    def read(path: Path, picks: Picks) -> LatencyProfile:
        profile = profile_of(path, _deployment(path, picks), picks.overhead_s or 0.0)
        return _latency(path, {picks.model or path.resolve().name: profile}, source, picks)

    return read


def _deployment(path: Path, picks: Picks) -> Deployment:
    link = None
    if picks.link_gb_per_s is not None and picks.link_latency_s is not None:
        link = Link(picks.link_gb_per_s * 1e9, picks.link_latency_s)
    if picks.model is not None:
        shape = model_shape(picks.model)
        return Deployment(picks.layers or shape.layers, shape, link=link)
    if picks.layers is not None:
        return Deployment(picks.layers, link=link)
    raise ProfileError(
        f"{path}: holds kernels of one layer; say how many the model has with --layers, or "
        "give --model, a known one or the path of a config.json"
    )


def _latency(
    path: Path, engines: Mapping[str, EngineProfile], source: str, picks: Picks
) -> LatencyProfile:
    if not engines:
        raise ProfileError(f"{path}: holds nothing for {_listed(picks)}")
    said = {name: getattr(picks, name) for name in picks.given}
    return LatencyProfile(dict(engines), imported(source, path, said))


def _listed(picks: Picks) -> str:
    return ", ".join(f"{_option(name)} {getattr(picks, name)}" for name in picks.given)


def _endpoint(read: Callable[[Path], EndpointProfile]) -> Callable[[Path, Picks], EndpointProfile]:
    return lambda path, picks: read(path)


SETUP = ("model", "hardware", "tp")
KERNELS = ("model", "layers", "overhead_s")
LINK = ("link_gb_per_s", "link_latency_s")
FORMATS: Mapping[str, Format] = {
    "splitwise": Format(SETUP, _splitwise),
    "aiconfigurator": Format(SETUP, _aiconfigurator),
    "llmservingsim": Format((*KERNELS, *LINK), _kernels("LLMServingSim", profile_of_bundle)),
    "vidur": Format(KERNELS, _kernels("Vidur", profile_of_vidur)),
    "vllm": Format((), _endpoint(read_vllm_bench)),
    "aiperf": Format((), _endpoint(read_aiperf)),
    "guidellm": Format(("run",), lambda path, picks: read_guidellm(path, picks.run)),
}
