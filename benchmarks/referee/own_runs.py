"""Runs in the layout of one's own: a folder with ``run.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.referee.engine_arguments import ENGINES, Arguments
from benchmarks.referee.engines import Placed, simulated
from benchmarks.referee.recorded import Figure, Figures, RecordedRun, Stage
from benchmarks.referee.request_files import read_requests
from benchmarks.referee.run_spec import PeerSpec, RunSpec, StageSpec
from profiles.hardware.gpus import HARDWARE, hardware
from profiles.hardware.known_models import model_shape
from profiles.hardware.model_shape import BITS, ModelShape
from simulator.workloads import workload_of
from staircase import Workload, single
from staircase.errors import InputError, ScenarioError
from staircase.files import first_error, named_path
from staircase.spec.workload_spec import WorkloadSpec
from staircase.spec.yaml_file import read_yaml

FILE = "run.yaml"
WORKLOAD_KEYS = ("requests", "rate_per_s", "concurrency", "burstiness", "seed", "query_tokens")
# Of a stage whose requests are drawn, so that its figures are not those of one draw.
DRAWS = 3
WHOLE = ("bf16", "fp16")


def read_own_run(path: Path) -> RecordedRun:
    """The run that the file ``path`` describes.

    Raises:
        InputError: it is wrong, or cannot be played; names the file, and the key where there is
            one.
    """
    spec = _spec(path)
    try:
        return _run(path, spec)
    except InputError as error:
        said = str(error)
        raise type(error)(said if str(path.parent) in said else f"{path}: {said}") from None


def _spec(path: Path) -> RunSpec:
    try:
        return RunSpec.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ScenarioError(f"{path}: {first_error(error)}") from None


def _run(path: Path, spec: RunSpec) -> RecordedRun:
    folder = path.parent
    engine = simulated(_placed(spec, folder), _arguments(spec), spec.version)
    stages, remarks = [], [*filter(None, [spec.source]), *engine.remarks]
    for number, one in enumerate(spec.stages, start=1):
        stage, more = _stage(one, one.name or f"stage {number}", folder)
        stages.append(stage)
        remarks += more
    name = f"{folder.name}: {spec.model} tp{spec.tensor_parallel} on {spec.hardware}"
    name = f"{name}, {spec.engine} {spec.version}"
    return RecordedRun(name, engine.engine, stages, engine.unlinked, _over_all(spec), remarks)


def _arguments(spec: RunSpec) -> Arguments:
    try:
        return ENGINES[spec.engine].model_validate(spec.arguments)
    except ValidationError as error:
        raise ScenarioError(f"arguments.{first_error(error)}") from None


def _placed(spec: RunSpec, folder: Path) -> Placed:
    shape = model_shape(spec.model, folder)
    device = HARDWARE.get(spec.hardware) if spec.kernels else hardware(spec.hardware)
    cost: dict[str, Any] = {"model": spec.model, "tensor_parallel": spec.tensor_parallel}
    if spec.kernels is None:
        _check_precision(spec, shape)
        return Placed(shape, {**cost, "hardware": spec.hardware}, device, folder)
    for key in ("kernels", "data_parallel", "expert_parallel", "link_gb_per_s", "link_latency_s"):
        cost[key] = getattr(spec, key)
    return Placed(shape, cost, device if spec.precision in WHOLE else None, folder)


def _check_precision(spec: RunSpec, shape: ModelShape) -> None:
    """A roofline takes the bits of weights from the model's config.json."""
    quantized = min(shape.dense.bits, shape.expert.bits) < BITS
    if (spec.precision in WHOLE) == quantized:
        raise ScenarioError(
            f"precision is {spec.precision}, but the weights of {spec.model} have "
            f"{min(shape.dense.bits, shape.expert.bits):g} bits; give the path of a config.json "
            "with the quantization_config that was served"
        )


def _stage(spec: StageSpec, name: str, folder: Path) -> tuple[Stage, tuple[str, ...]]:
    if spec.file is None:
        assert spec.measured is not None
        told = spec.measured.figures
        return Stage(name, _draws(spec, folder), told, published=_published(spec, told)), ()
    seen = read_requests(named_path(spec.file, folder), spec.system_tokens)
    stage = Stage(name, [seen.workload], columns=seen.columns)
    return replace(stage, published=_published(spec, stage.measured())), seen.remarks


def _draws(spec: StageSpec, folder: Path) -> list[Workload]:
    given = {key: getattr(spec, key) for key in WORKLOAD_KEYS if key in spec.model_fields_set}
    assert spec.output_tokens is not None
    workload = WorkloadSpec(
        **given,
        output_tokens={"model": spec.output_tokens},
        prompts=spec.prompts,
        ends_with=spec.ends_with,
    )
    return [workload_of(workload, single(), folder, draw) for draw in range(1, DRAWS + 1)]


def _published(spec: StageSpec, measured: Figures) -> dict[str, Figures]:
    return {name: _figures(peer, measured) for name, peer in (spec.peers or {}).items()}


def _figures(peer: PeerSpec, measured: Figures) -> Figures:
    """What a peer forecast, in seconds; by its errors where these are what it published."""
    means = {Figure(f"{metric}_s", "mean"): error for metric, error in (peer.error or {}).items()}
    by_error = {
        figure: measured[figure] * (1 + error)
        for figure, error in means.items()
        if figure in measured
    }
    return {**by_error, **peer.figures}


def _over_all(spec: RunSpec) -> Mapping[str, Mapping[str, float]]:
    return {
        peer: {f"{metric}_s": error for metric, error in errors.items()}
        for peer, errors in (spec.published or {}).items()
    }
