"""How fast the in-process engines are: ratios measured in one run, on one CPU thread.

    python -m benchmarks.in_process [--rounds 20]

A Llama of 4 M random parameters (hidden 256, 4 layers, head_dim 64, float32), prompts of 128
tokens. The variants take turns, because the machine may be noisy; of each round the median counts,
and of the rounds again, with the quartiles beside it. Overhead is wall time outside of the network.

The engines run a network as `load_model` gives it, whose weights lie so that a CPU decodes quickly;
the loop and `generate` run it as transformers loads it, and again as the engines do.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.generation.streamers import BaseStreamer

from executor.engine import CallReport, Engine, EngineCall, Key
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.inprocess.transformers_engine import TransformersEngine
from executor.inprocess.weight_layout import lay_for_decoding
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.byte_tokenizer import ByteTokenizer
from executor.tokens.rendering import PromptFormat
from staircase import Schedule, constant, moa, single, uniform
from staircase.workload import Question

Gaps = NDArray[np.float64]

VOCABULARY = 2048
PROMPT, TOKENS, BATCH = 128, 96, 8
TARGETS = {
    "hand": "≤ 1.1",
    "hand, same weights": "≤ 1.1",
    "generate": "≤ 0.9",
    "generate, same weights": "",
}
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "initializer_range": 0.08,
    "max_position_embeddings": 8192,
    "eos_token_id": None,
}


class Timed:
    """A network that knows how long and how often its two parts have worked."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.seconds = 0.0
        self.passes = 0

    @property
    def base_model(self) -> Callable[..., Any]:
        return self._timed(self._network.base_model, passes=1)

    def get_output_embeddings(self) -> Callable[..., Any]:
        return self._timed(self._network.get_output_embeddings(), passes=0)

    def _timed(self, part: Any, passes: int) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            output = part(*args, **options)
            self.seconds += time.perf_counter() - started
            self.passes += passes
            return output

        return call

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._network(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def small_model(seed: int = 0) -> LoadedModel:
    """As `load_model` would give it."""
    model = plain_model(seed)
    lay_for_decoding(model.network)
    return model


def plain_model(seed: int = 0) -> LoadedModel:
    """As transformers would."""
    torch.manual_seed(seed)
    network = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()  # type: ignore[no-untyped-call]
    return LoadedModel(network, ByteTokenizer(VOCABULARY), torch.device("cpu"), "", frozenset())


def random_prompt(rng: random.Random, tokens: int = PROMPT) -> list[int]:
    return [rng.randrange(VOCABULARY) for _ in range(tokens)]


# Decoding: each gives the seconds between tokens.


@torch.inference_mode()
def hand_written(model: LoadedModel, ids: Sequence[int]) -> Gaps:
    cache, times = DynamicCache(), []
    pending = torch.tensor([ids])
    for _ in range(TOKENS):
        output = model.network(
            input_ids=pending, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        token = int(output.logits[0, -1].argmax())
        times.append(time.perf_counter())
        pending = torch.tensor([[token]])
    return np.diff(times)


@dataclass
class _Clock(BaseStreamer):
    """Called with the prompt first, then with every token."""

    times: list[float] = field(default_factory=list)

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


@torch.inference_mode()
def generated(model: LoadedModel, ids: Sequence[int]) -> Gaps:
    clock, pending = _Clock(), torch.tensor([ids])
    model.network.generate(
        pending,
        attention_mask=torch.ones_like(pending),
        max_new_tokens=TOKENS,
        do_sample=False,
        streamer=clock,
        pad_token_id=0,
    )
    return np.diff(clock.times[1:])


@dataclass
class _WaitedCalls:
    """Waits for several calls of an engine."""

    left: int
    times: list[float] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        if not key[1]:
            self.times.append(time_ns / 1e9)

    def on_end(self, key: Key, report: CallReport) -> None:
        assert report.error is None, report.error
        self.left -= 1
        if not self.left:
            self.done.set()


def served(engine: Engine, prompts: Sequence[Sequence[int]]) -> Gaps:
    """Gaps of the first call, while all of them decode."""
    calls = _WaitedCalls(len(prompts))
    for number, ids in enumerate(prompts):
        engine.submit(EngineCall((0, number), ids, TOKENS, ignore_end=True), calls)
    calls.done.wait()
    return np.diff(calls.times)


def measure_decoding(rounds: int) -> dict[str, Gaps]:
    """Median seconds between tokens, by variant and round."""
    model, plain, rng = small_model(), plain_model(), random.Random(0)
    with Device() as device:
        serial, batching = TransformersEngine(model, device), BatchingEngine(model, device, BATCH)
        variants: dict[str, Callable[[], Gaps]] = {
            "hand": lambda: hand_written(plain, random_prompt(rng)),
            "hand, same weights": lambda: hand_written(model, random_prompt(rng)),
            "serial": lambda: served(serial, [random_prompt(rng)]),
            "generate": lambda: generated(plain, random_prompt(rng)),
            "generate, same weights": lambda: generated(model, random_prompt(rng)),
            "batch 1": lambda: served(batching, [random_prompt(rng)]),
            f"batch {BATCH}": lambda: served(batching, [random_prompt(rng) for _ in range(BATCH)]),
        }
        found: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(rounds + 1):
            for name in rng.sample(sorted(variants), len(variants)):
                gap = float(np.median(variants[name]()))
                # The first round warms up.
                found[name] += [gap] if number else []
    return {name: np.array(some) for name, some in found.items()}


# Overhead: a run's wall time outside of the network, of tokens and of calls.


@contextmanager
def runtimes(network: Any) -> Iterator[Mapping[str, Runtime]]:
    model = replace(small_model(), network=network)
    form = PromptFormat(header="", label="", own="")
    with Device() as device:
        engines: dict[str, Engine] = {
            "serial": TransformersEngine(model, device),
            "batching": BatchingEngine(model, device, BATCH),
        }
        yield {
            name: Runtime(dict.fromkeys("abcz", ServedModel(engine, form)))
            for name, engine in engines.items()
        }


def outside(runtime: Runtime, network: Timed, job: Job) -> tuple[float, int, int]:
    """Seconds outside of the network, its passes, and the calls of ``job``."""
    inside, passes, started = network.seconds, network.passes, time.perf_counter()
    outcome = runtime.run([job])[0]
    seconds = time.perf_counter() - started - (network.seconds - inside)
    assert outcome.timeline.error is None
    return seconds, network.passes - passes, len(outcome.calls)


def measure_overhead(rounds: int) -> dict[str, list[float]]:
    """Seconds for each token of a call alone, and what each call of a staircase adds to that.

    Calls that decode together share a pass, so there a pass counts as a token.
    """
    network = Timed(small_model().network)
    question = Question("x" * PROMPT)
    alone = single("z")
    drawn = moa([["a", "b", "c"]], "z")
    long = replace(alone, agents=tuple(replace(a, max_tokens=256) for a in alone))
    stepped = replace(drawn, agents=tuple(replace(a, max_tokens=128) for a in drawn))
    found: dict[str, list[float]] = {}
    with runtimes(network) as by_engine:
        for number in range(rounds + 1):
            for name, runtime in by_engine.items():
                seconds, passes, _ = outside(runtime, network, Job(long, Schedule(), question))
                per_token = seconds / passes
                job = Job(stepped, uniform(stepped, constant(2, 2, 2)), question)
                seconds, passes, calls = outside(runtime, network, job)
                per_chunk = (seconds - passes * per_token) / calls
                for what, value in ((f"{name} token", per_token), (f"{name} chunk", per_chunk)):
                    found.setdefault(what, [])
                    found[what] += [value] if number else []
    return found


def spread(values: Sequence[float] | Gaps, unit: float = 1.0) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]) * unit
    return f"{middle:.3f} ({low:.3f} … {high:.3f})"


def table_of_decoding(found: Mapping[str, Gaps]) -> Table:
    table = Table("decoding", "target", "median (quartiles)")
    for name, some in found.items():
        table.add_row(f"{name}, ms between tokens", "", spread(some, 1e3))
    many = f"batch {BATCH}"
    ratios = [
        *(
            (f"serial / {name}", target, found["serial"] / found[name])
            for name, target in TARGETS.items()
        ),
        (f"tokens/s, {many} / batch 1", "≥ 3", BATCH * found["batch 1"] / found[many]),
        ("batch 1 / serial", "", found["batch 1"] / found["serial"]),
    ]
    for name, target, ratio in ratios:
        table.add_row(name, target, spread(ratio))
    return table


def table_of_overhead(found: Mapping[str, Sequence[float]]) -> Table:
    table = Table("overhead, ms", "target", "median (quartiles)")
    limits = {"token": "≤ 0.2", "chunk": "≤ 1"}
    for name, some in found.items():
        table.add_row(name, limits[name.split()[-1]], spread(some, 1e3))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    Console().print(table_of_decoding(measure_decoding(rounds)))
    Console().print(table_of_overhead(measure_overhead(rounds)))


if __name__ == "__main__":
    main()
