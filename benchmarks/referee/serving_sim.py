"""Runs in LLMServingSim's layout, whose validation runs vLLM.

    HARDWARE/MODEL/vllm/requests.jsonl        what vLLM did with each request
    HARDWARE/MODEL/vllm/meta.json             its version, its arguments, and its KV blocks if told
    HARDWARE/MODEL/config.json                link_bw in GB/s and link_latency in ns, of several
    HARDWARE/MODEL/validation/summary.txt     what LLMServingSim itself forecast
    profiler/perf/HARDWARE/MODEL ID/bf16/tpN  kernel times, above the run or anywhere in the data

Without kernel times a roofline says what iterations cost. Source of the layout:
github.com/casys-kaist/LLMServingSim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.referee.engine_arguments import VllmArguments
from benchmarks.referee.engines import Placed, simulated
from benchmarks.referee.recorded import Figure, Figures, RecordedRun, Stage
from benchmarks.referee.request_files import read_requests
from profiles.hardware.gpus import HARDWARE, hardware
from profiles.hardware.known_models import model_shape
from profiles.json_node import Node, read_node
from staircase.errors import ProfileError
from staircase.files import first_error, read_text

FILE = "requests.jsonl"
# Its names of devices.
DEVICES = {"RTX4090": "RTX-4090", "RTXPRO6000": "RTX-PRO-6000-Server", "H100": "H100-SXM"}
# Of arguments that the simulator would have to know.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "dtype": ("auto", "bfloat16", "float16"),
    "kv_cache_dtype": ("auto", "bfloat16", "float16"),
    "pipeline_parallel_size": (1,),
    "speculative_config": (),
    "quantization": (),
}
METRICS = {"TTFT": "ttft_s", "TPOT": "tpot_s", "Latency": "e2e_s"}
STATISTICS = {"Mean": "mean", "Median": "p50", "P90": "p90", "P95": "p95", "P99": "p99"}
# Metric, statistic, measured, forecast, error; milliseconds.
ROW = re.compile(rf"({'|'.join(METRICS)}) ({'|'.join(STATISTICS)})\s+[\d.]+\s+(\d+\.?\d*)\s.*")


def read_serving_sim(data: Path, path: Path) -> RecordedRun:
    """The run whose requests are in ``path``, with the kernel times that lie in ``data``.

    Raises:
        InputError: something is missing, wrong or not modelled; says what.
    """
    meta = read_node(path.parent / "meta.json", "the meta.json of LLMServingSim's validation")
    kwargs = meta["engine_kwargs"]
    for key, neutral in NEUTRAL.items():
        if key in kwargs and kwargs[key].value not in neutral:
            raise kwargs[key].error("which is not modelled")
    placed = _placed(data, path, kwargs)
    engine = simulated(placed, _arguments(meta), str(meta["vllm_version"].value))
    seen = read_requests(path)
    published = _published(path.parents[1] / "validation" / "summary.txt")
    stage = Stage("all", [seen.workload], columns=seen.columns, published=published)
    return RecordedRun(
        _named(path, placed, meta), engine.engine, [stage], engine.unlinked, {}, engine.remarks
    )


def _named(path: Path, placed: Placed, meta: Node) -> str:
    cost = placed.cost
    ranks = f" dp{cost['data_parallel']}" if "data_parallel" in cost else ""
    served = f"{cost['model']} tp{cost['tensor_parallel']}{ranks}"
    folder = f"{path.parents[2].name}/{path.parents[1].name}"
    return f"{folder}: {served}, vllm {meta['vllm_version'].value}"


def _placed(data: Path, path: Path, kwargs: Node) -> Placed:
    model, device = str(kwargs["model"].value), path.parents[2].name
    parallel, ranks = (
        kwargs[key].count(1) if key in kwargs else 1
        for key in ("tensor_parallel_size", "data_parallel_size")
    )
    cost: dict[str, Any] = {"model": model, "tensor_parallel": parallel}
    if ranks > 1:
        cost["data_parallel"] = ranks
    if ranks * parallel > 1 and "enable_expert_parallel" in kwargs:
        cost["expert_parallel"] = kwargs["enable_expert_parallel"].value
    folder = _kernels(data, path, Path(device, model, "bf16", f"tp{parallel}"))
    name = DEVICES.get(device, device)
    if folder is None:
        cost["hardware"] = name
        return Placed(model_shape(model), cost, hardware(name), path.parent)
    cost["kernels"] = str(folder.resolve())
    if ranks * parallel > 1:
        cost |= _link(path.parents[1] / "config.json")
    return Placed(model_shape(model), cost, HARDWARE.get(name), path.parent)


def _kernels(data: Path, path: Path, bundle: Path) -> Path | None:
    """The nearest folder of this ``bundle``."""
    return next((perf / bundle for perf in _perf(data, path) if (perf / bundle).is_dir()), None)


def _perf(data: Path, path: Path) -> Iterator[Path]:
    yield from (parent / "profiler" / "perf" for parent in path.parents)
    yield from sorted(data.rglob("profiler/perf"))


def _link(path: Path) -> dict[str, float]:
    config = read_node(path, "the config.json of LLMServingSim's run, which names its link")
    return {
        "link_gb_per_s": config["link_bw"].positive(),
        "link_latency_s": config["link_latency"].number() * 1e-9,
    }


def _arguments(meta: Node) -> VllmArguments:
    """Each recorded prompt is one of its own, so the prefix cache found nothing."""
    kwargs = meta["engine_kwargs"]
    given = {key: kwargs[key].value for key in VllmArguments.model_fields if key in kwargs}
    if "kv_cache" in meta:
        told = {"num_gpu_blocks": "num_gpu_blocks", "block_size": "block_size"}
        found = meta["kv_cache"]
        given |= {own: found[key].count(1) for own, key in told.items() if key in found}
    try:
        return VllmArguments.model_validate({**given, "enable_prefix_caching": False})
    except ValidationError as error:
        raise ProfileError(f"{meta.place}: engine_kwargs.{first_error(error)}") from None


def _published(path: Path) -> dict[str, Figures]:
    """Nothing where there is no such file."""
    if not path.exists():
        return {}
    text = read_text(path, ProfileError, "the summary.txt of LLMServingSim's validation")
    found = {
        Figure(METRICS[row[1]], STATISTICS[row[2]]): float(row[3]) * 1e-3
        for row in map(ROW.fullmatch, text.splitlines())
        if row
    }
    return {"LLMServingSim": found} if found else {}
