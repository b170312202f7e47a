"""What load tests of others say of an endpoint.

Each tool's words, and what they are here (TTFT; ITL as in ``profiles.latency.endpoint``):

    vllm bench serve   ttft · tpot; its itl are gaps between pieces, which may hold several tokens
    AIPerf             time_to_first_token · inter_token_latency
    GuideLLM           time_to_first_token · inter_token_latency; its time_per_output_token has the
                       TTFT in it

Sources: vllm/benchmarks/serve.py 0.32, aiperf 0.13, guidellm 0.8.1; docs/profiles.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from profiles.json_node import Node, parse_node, read_node, read_node_lines
from profiles.latency.endpoint import (
    EndpointProfile,
    Moments,
    SeenCall,
    endpoint_of_calls,
    endpoint_of_moments,
)
from profiles.store import Provenance, imported
from staircase.errors import ProfileError
from staircase.files import read_text
from staircase.records import Record, parse_records

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}
VLLM = "the JSON of 'vllm bench serve --save-result'"
VLLM_SETTINGS = {"model_id": "model", "max_concurrency": "concurrency", "request_rate": "rate"}


def read_vllm_bench(path: Path) -> EndpointProfile:
    """The JSON of ``vllm bench serve --save-result``, better with ``--save-detailed``.

    Raises:
        ProfileError, RecordError: the file is another; names the key.
    """
    text = read_text(path, ProfileError, VLLM)
    node = parse_node(path, text, VLLM)
    settings = {new: node[old].value for old, new in VLLM_SETTINGS.items() if old in node}
    provenance = imported("vllm bench serve", path, settings)
    if "ttfts" in node and "input_lens" in node:
        return _of_calls(path, _vllm_calls(path, node, parse_records(path, text)), provenance)
    ttft, tpot = (
        Moments(node[f"mean_{name}_ms"].positive() / 1e3, node[f"std_{name}_ms"].number() / 1e3)
        for name in ("ttft", "tpot")
    )
    return endpoint_of_moments(ttft, tpot, node["completed"].count(1), provenance)


def _vllm_calls(path: Path, node: Node, records: Sequence[Record]) -> list[SeenCall]:
    prompts = [value.count() for value in node["input_lens"]]
    for number, seen in enumerate(records):
        if seen.error is None and not seen.ttft_s > 0:
            raise ProfileError(f"{path}: ttfts[{number}] is {seen.ttft_s:g}, must be more than 0")
    if len(prompts) != len(records):
        raise ProfileError(
            f"{path}: 'input_lens' has {len(prompts)} entries, 'ttfts' {len(records)}; "
            "must be as many"
        )
    return [
        SeenCall(prompt, seen.answer_tokens, seen.ttft_s, seen.tpot_s)
        for prompt, seen in zip(prompts, records, strict=True)
        if seen.error is None
    ]


def read_aiperf(path: Path) -> EndpointProfile:
    """AIPerf's ``profile_export_aiperf.json``, or better its ``profile_export.jsonl``.

    Raises:
        ProfileError: the file is another; names the key, and the line.
    """
    if path.suffix == ".jsonl":
        calls = [
            _aiperf_call(line["metrics"])
            for line in read_node_lines(path, "AIPerf's profile_export.jsonl")
            if "error" not in line
        ]
        return _of_calls(path, calls, imported("AIPerf", path))
    node = read_node(path, "AIPerf's profile_export_aiperf.json")
    return endpoint_of_moments(
        _aiperf_moments(node["time_to_first_token"]),
        _aiperf_moments(node["inter_token_latency"]),
        node["request_count"]["avg"].count(1),
        imported("AIPerf", path, {"model": _aiperf_model(node)}),
    )


def _aiperf_call(metrics: Node) -> SeenCall:
    written = metrics["output_sequence_length"]["value"].number()
    itl = "inter_token_latency"
    return SeenCall(
        metrics["input_sequence_length"]["value"].number(),
        written if itl in metrics else 1,
        _aiperf_s(metrics["time_to_first_token"]),
        _aiperf_s(metrics[itl]) if itl in metrics else math.nan,
    )


def _aiperf_moments(metric: Node) -> Moments:
    unit = _unit_s(metric)
    return Moments(metric["avg"].positive() * unit, metric["std"].number() * unit)


def _aiperf_s(metric: Node) -> float:
    return metric["value"].positive() * _unit_s(metric)


def _unit_s(metric: Node) -> float:
    unit = metric["unit"]
    if not isinstance(unit.value, str) or unit.value not in SECONDS:
        raise unit.error(f"must be one of {', '.join(SECONDS)}")
    return SECONDS[unit.value]


def _aiperf_model(node: Node) -> str | None:
    try:
        return str(next(iter(node["input_config"]["models"]["items"]))["name"].value)
    except (ProfileError, StopIteration):
        return None


def read_guidellm(path: Path, run: int | None = None) -> EndpointProfile:
    """GuideLLM's JSON; of several benchmarks the one of number ``run``, from 1.

    Raises:
        ProfileError: the file is another, or has several and ``run`` does not say which.
    """
    node = read_node(path, "GuideLLM's JSON")
    benchmarks = list(node["benchmarks"])
    if run is None and len(benchmarks) != 1:
        raise ProfileError(f"{path}: holds {len(benchmarks)} benchmarks; say which with --run")
    if not 1 <= (run or 1) <= len(benchmarks):
        raise ProfileError(f"{path}: --run {run}: it holds benchmarks 1 to {len(benchmarks)}")
    metrics = benchmarks[(run or 1) - 1]["metrics"]
    ttft = metrics["time_to_first_token_ms"]["successful"]
    itl = metrics["inter_token_latency_ms"]["successful"]
    return endpoint_of_moments(
        _guidellm_moments(ttft),
        _guidellm_moments(itl),
        ttft["count"].count(1) if "count" in ttft else None,
        imported("GuideLLM", path, {"run": run or 1}),
    )


def _guidellm_moments(found: Node) -> Moments:
    return Moments(found["mean"].positive() / 1e3, found["std_dev"].number() / 1e3)


def _of_calls(path: Path, calls: list[SeenCall], provenance: Provenance) -> EndpointProfile:
    try:
        return endpoint_of_calls(calls, provenance)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None
