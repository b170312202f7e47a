"""Engines that run in the process that opens them: models loaded once, devices running."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from executor.engine import Engine
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel, Weights, load_model
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.sampling import Sampling
from executor.inprocess.threads import fast_threads
from executor.inprocess.transformers_engine import TransformersEngine
from staircase.spec.engine_spec import EngineSpec, PromptLookupSpec


def load_models(specs: Mapping[str, EngineSpec]) -> dict[str, LoadedModel]:
    """By engine name; engines that name the same model share it.

    Raises:
        ModelError: a model cannot be loaded.
    """
    loaded: dict[tuple[str, str, str, Weights], LoadedModel] = {}
    for spec in specs.values():
        if _key(spec) not in loaded:
            loaded[_key(spec)] = load_model(*_key(spec))
    return {name: _with_threads(spec, loaded[_key(spec)]) for name, spec in specs.items()}


def _key(spec: EngineSpec) -> tuple[str, str, str, Weights]:
    return spec.model, spec.torch_device, spec.dtype, spec.weights


def _with_threads(spec: EngineSpec, model: LoadedModel) -> LoadedModel:
    return replace(model, threads=spec.threads or fast_threads(model.network))


def scoring_model(name: str) -> LoadedModel:
    """On the CPU, in fp32.

    Raises:
        ModelError: it cannot be loaded.
    """
    model = load_model(name, "cpu", "float32")
    return replace(model, threads=fast_threads(model.network))


def open_local(
    stack: ExitStack, specs: Mapping[str, EngineSpec], models: Mapping[str, LoadedModel]
) -> dict[str, Engine]:
    """By engine name; ``stack`` closes their devices."""
    places = dict.fromkeys(spec.place for spec in specs.values())
    devices = {place: stack.enter_context(Device()) for place in places}
    return {name: _engine(spec, models[name], devices[spec.place]) for name, spec in specs.items()}


def _engine(spec: EngineSpec, model: LoadedModel, device: Device) -> Engine:
    sampling = Sampling(spec.temperature, spec.top_p, spec.top_k, spec.seed)
    lookup = lookup_of(spec.prompt_lookup) if spec.prompt_lookup else None
    if spec.slots == 1:
        return TransformersEngine(model, device, sampling, lookup)
    return BatchingEngine(
        model, device, spec.slots, spec.max_num_batched_tokens, sampling=sampling, lookup=lookup
    )


def lookup_of(spec: PromptLookupSpec) -> PromptLookup:
    return PromptLookup(spec.tokens, spec.ngram, spec.min_ngram or spec.ngram)
