"""Continuous batching changes nothing: every call gets the tokens that it would get alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from executor.engine import CallReport, EngineCall, Key
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device, TurnTaker
from executor.inprocess.models import LoadedModel
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.slots import STEP_TOKENS, SlotBook
from executor.inprocess.static_steps import rounded_up
from executor.prefix import common_prefix
from staircase.errors import ModelError
from tests.support.backends import TINY, VOCABULARY, random_model
from tests.test_kv_reuse import KINDS, greedy

MODELS = {kind: random_model(kind, seed=7) for kind in KINDS}


# Of two logits as near as this, either may be the greater: passes of other shapes round otherwise.
TIE = 1e-4


@torch.inference_mode()
def is_greedy(model: LoadedModel, prompt: list[int], tokens: list[int]) -> bool:
    """Whether each of ``tokens`` is the likeliest after all before it, in one pass, uncached."""
    ids = torch.tensor([[*prompt, *tokens]])
    logits = model.network(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(tokens, dtype=torch.long)[:, None])[:, 0]
    return bool((chosen >= logits.amax(-1) - TIE).all())


@dataclass
class Recorder:
    """Keeps what the calls got, and in which order tokens came; ``on_token`` may do more."""

    tokens: dict[Key, list[int]] = field(default_factory=dict)
    reports: dict[Key, CallReport] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    order: list[Key] = field(default_factory=list)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.order.append(key)
        self.tokens.setdefault(key, []).append(token)

    def on_end(self, key: Key, report: CallReport) -> None:
        with self.changed:
            assert key not in self.reports
            self.reports[key] = report
            self.changed.notify_all()

    def wait_for(self, *keys: Key) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.reports.keys() >= set(keys), timeout=60)


def asking(*prompt: int) -> EngineCall:
    return EngineCall((0, 0), prompt, 1)


class HandDevice(Device):
    """A device without a thread: the test takes the turns."""

    def step(self, engine: TurnTaker) -> bool:
        """One iteration, with all errands before it; false if there is nothing to do."""
        while self._errands:
            self._errands.popleft()()
        if engine.has_work:
            engine.turn()
        return engine.has_work


@dataclass(frozen=True)
class Plan:
    """A call, what it says of its text, and at which iterations it comes and is cancelled."""

    prompt: list[int]
    max_tokens: int
    joins_at: int
    cancelled_at: int | None
    guess: Sequence[int] = ()


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    """Calls whose prompts share beginnings with each other, so that there is much to re-use."""
    tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12)
    beginnings = draw(st.lists(tokens, min_size=1, max_size=3))
    moments = st.integers(0, 25)
    return [
        Plan(
            draw(st.sampled_from(beginnings)) + draw(tokens) * draw(st.integers(1, 3)),
            draw(st.integers(1, 12)),
            draw(moments),
            draw(st.one_of(st.none(), moments)),
        )
        for _ in range(draw(st.integers(1, 9)))
    ]


def play(engine: BatchingEngine, device: HandDevice, calls: Sequence[Plan]) -> Recorder:
    recorder = Recorder()
    iteration = 0
    while engine.has_work or iteration <= 26:
        for number, call in enumerate(calls):
            if call.cancelled_at == iteration:
                engine.cancel((0, number))
            if call.joins_at == iteration:
                asked = EngineCall((0, number), call.prompt, call.max_tokens, guess=call.guess)
                engine.submit(asked, recorder)
        device.step(engine)
        iteration += 1
    return recorder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(
    plans(),
    st.integers(1, 4),
    st.sampled_from([1, 5, 16, 2048]),
    st.booleans(),
    st.sampled_from([None, PromptLookup(4, 2, 1), PromptLookup(9, 1, 1)]),
)
def test_joining_and_leaving_changes_no_token(
    kind: str,
    calls: list[Plan],
    slots: int,
    budget: int,
    is_static: bool,
    lookup: PromptLookup | None,
) -> None:
    device = HandDevice()
    engine = BatchingEngine(MODELS[kind], device, slots, budget, is_static, lookup=lookup)
    recorder = play(engine, device, calls)
    assert recorder.reports.keys() == {(0, number) for number in range(len(calls))}
    assert engine.is_idle
    for number, call in enumerate(calls):
        report, tokens = recorder.reports[0, number], recorder.tokens.get((0, number), [])
        assert report.error is None
        assert is_greedy(MODELS[kind], call.prompt, tokens)
        assert report.reason == ("length" if len(tokens) == call.max_tokens else "cancelled")
        assert report.reason == "length" or call.cancelled_at is not None


def run_alone(engine: BatchingEngine, device: HandDevice, call: EngineCall) -> Recorder:
    recorder = Recorder()
    engine.submit(call, recorder)
    while device.step(engine):
        pass
    return recorder


@pytest.fixture
def device() -> HandDevice:
    return HandDevice()


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return MODELS["llama"]


class TestReuse:
    def test_a_prompt_goes_where_most_of_it_is(
        self, model: LoadedModel, device: HandDevice
    ) -> None:
        engine = BatchingEngine(model, device, 3)
        long, short = list(range(40)), list(range(90, 60, -1))
        for number, prompt in enumerate((long, short)):
            run_alone(engine, device, EngineCall((0, number), prompt, 1))
        reports = run_alone(engine, device, EngineCall((1, 0), [*long, 7, 7], 1)).reports
        assert reports[1, 0].cached_tokens == 40
        reports = run_alone(engine, device, EngineCall((1, 1), short, 1)).reports
        assert reports[1, 1].cached_tokens == 29

    def test_ties_go_to_the_slot_longest_unused(self) -> None:
        book = SlotBook(3)
        taken = [book.take(asking(1))[0] for _ in range(3)]
        for slot in (1, 0, 2):
            book.release(slot, [5, slot], "")
        assert taken == [0, 1, 2]
        assert book.take(asking(9)) == (1, 0)
        assert book.take(asking(5, 9)) == (0, 1)
        assert book.take(asking(5, 2)) == (2, 1)
        assert book.free == 0

    @given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
    def test_common_prefix(self, one: list[int], other: list[int]) -> None:
        length = common_prefix(one, other)
        assert one[:length] == other[:length]
        assert min(len(one), len(other)) == length or one[length] != other[length]


class TestIterations:
    def test_a_long_prompt_does_not_stop_those_that_decode(
        self, model: LoadedModel, device: HandDevice
    ) -> None:
        engine, recorder = BatchingEngine(model, device, 2, max_num_batched_tokens=5), Recorder()
        engine.submit(EngineCall((0, 0), [1], 12), recorder)
        device.step(engine)
        engine.submit(EngineCall((0, 1), list(range(40)), 1), recorder)
        for written in range(2, 12):
            device.step(engine)
            assert len(recorder.tokens[0, 0]) == written
            # Four tokens of the prompt each time; the last of its ten pieces gives the token.
            assert ((0, 1) in recorder.tokens) == (written == 11)

    def test_a_prompts_token_is_there_before_the_decodes(
        self, model: LoadedModel, device: HandDevice
    ) -> None:
        engine, recorder = BatchingEngine(model, device, 2), Recorder()
        engine.submit(EngineCall((0, 0), [1, 2], 5), recorder)
        device.step(engine)
        engine.submit(EngineCall((0, 1), [3, 4], 5), recorder)
        device.step(engine)
        assert recorder.order == [(0, 0), (0, 1), (0, 0)]

    @pytest.mark.parametrize("is_static", [False, True])
    def test_slots_grow(self, model: LoadedModel, device: HandDevice, is_static: bool) -> None:
        engine = BatchingEngine(model, device, 2, is_static=is_static)
        first = run_alone(engine, device, EngineCall((0, 0), [1, 2, 3], 20)).tokens[0, 0]
        prompt = [1, 2, 3, *first] * (STEP_TOKENS // 20)
        recorder = run_alone(engine, device, EngineCall((0, 1), prompt, 5))
        assert recorder.reports[0, 1].cached_tokens == 22
        assert is_greedy(model, prompt, recorder.tokens[0, 1])

    def test_an_iteration_counts_for_every_call_in_it(
        self, model: LoadedModel, device: HandDevice
    ) -> None:
        engine, recorder = BatchingEngine(model, device, 2), Recorder()
        for number in range(2):
            engine.submit(EngineCall((0, number), [1, number], 6), recorder)
        while device.step(engine):
            pass
        one, other = recorder.reports.values()
        assert one.busy_ns == other.busy_ns
        assert 0 < one.busy_ns <= one.ended_ns - one.started_ns + 1_000_000


class TestFaults:
    @pytest.mark.parametrize(
        ("prompt", "message"), [([], "is empty"), ([1, VOCABULARY], "outside"), ([-1], "outside")]
    )
    def test_a_prompt_that_is_none_is_turned_away(
        self, model: LoadedModel, device: HandDevice, prompt: list[int], message: str
    ) -> None:
        engine = BatchingEngine(model, device, 2)
        report = run_alone(engine, device, EngineCall((0, 0), prompt, 3)).reports[0, 0]
        assert message in (report.error or "")
        assert engine.is_idle

    def test_a_failing_iteration_ends_its_calls_and_no_other(
        self, device: HandDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = random_model("llama", seed=7)
        engine, recorder = BatchingEngine(model, device, 2), Recorder()
        prompt = [4, 5, 6]
        engine.submit(EngineCall((0, 0), prompt, 9), recorder)
        device.step(engine)
        with monkeypatch.context() as patch:
            patch.setattr(model.network.base_model, "forward", _fails)
            device.step(engine)
        assert recorder.reports[0, 0].error == "RuntimeError: no more memory"
        assert engine.is_idle
        again = run_alone(engine, device, EngineCall((0, 1), prompt, 9))
        assert again.tokens[0, 1] == greedy(model, prompt, 9)

    def test_cancelling_what_is_unknown_does_nothing(
        self, model: LoadedModel, device: HandDevice
    ) -> None:
        engine = BatchingEngine(model, device, 2)
        engine.cancel((3, 3))
        device.step(engine)
        assert engine.is_idle


class TestSlidingWindows:
    SHAPE: ClassVar[dict[str, Any]] = {**TINY, "sliding_window": 6}

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("mistral", {}),
            ("gemma2", {"query_pre_attn_scalar": 8}),
            ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
        ],
    )
    def test_change_no_token(
        self, device: HandDevice, kind: str, options: dict[str, object]
    ) -> None:
        torch.manual_seed(5)
        config = AutoConfig.for_model(kind, **self.SHAPE, **options)
        network: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        model = replace(MODELS["llama"], network=network.eval())
        engine, recorder = BatchingEngine(model, device, 3, max_num_batched_tokens=7), Recorder()
        prompts = [[1, 2, 3], list(range(20)), list(range(30, 44)), [*range(20), 4]]
        for number, prompt in enumerate(prompts):
            engine.submit(EngineCall((0, number), prompt, 15), recorder)
        while device.step(engine):
            pass
        for number, prompt in enumerate(prompts):
            assert len(recorder.tokens[0, number]) == 15
            assert is_greedy(model, prompt, recorder.tokens[0, number])

    def test_other_kinds_of_layers_are_told(self, device: HandDevice) -> None:
        model = random_model("qwen3", seed=7)
        model.network.config.layer_types = ["full_attention", "linear_attention"]
        with pytest.raises(ModelError, match="qwen3 has layers with linear_attention"):
            BatchingEngine(model, device, 2)


@pytest.mark.parametrize(("count", "size"), [(0, 4), (4, 4), (5, 8), (16, 16), (17, 24), (24, 24)])
def test_shapes_are_rounded_up(count: int, size: int) -> None:
    assert rounded_up(count, 4, 24) == size


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_graphs_change_no_token(device: HandDevice) -> None:
    on_cpu = random_model("llama", seed=7)
    gpu = torch.device("cuda")
    model = replace(on_cpu, network=on_cpu.network.to(gpu), device=gpu)
    prompts = [[1, 2, 3], list(range(40)), list(range(30, 44)), [*range(40), 4]]
    written = []
    for is_static in (False, True):
        engine, recorder = BatchingEngine(model, device, 3, 16, is_static), Recorder()
        for number, prompt in enumerate(prompts):
            engine.submit(EngineCall((0, number), prompt, 30), recorder)
        while device.step(engine):
            pass
        written.append(recorder.tokens)
    assert written[0] == written[1]


def _fails(*_: object, **__: object) -> None:
    raise RuntimeError("no more memory")


class TestEnds:
    def test_the_end_token_is_not_written_unless_it_is_ignored(self, device: HandDevice) -> None:
        model = random_model("llama", seed=7)
        written = greedy(model, [1, 2, 3], 8)
        last = next(n for n in range(1, 8) if written[n] not in written[:n])
        ending = LoadedModel(
            model.network, model.tokenizer, model.device, "llama", frozenset([written[last]])
        )
        engine = BatchingEngine(ending, device, 2)
        stopped = run_alone(engine, device, EngineCall((0, 0), [1, 2, 3], 8))
        assert stopped.tokens[0, 0] == written[:last]
        assert stopped.reports[0, 0].reason == "stop"
        forced = run_alone(engine, device, EngineCall((0, 1), [1, 2, 3], 8, ignore_end=True))
        assert forced.tokens[0, 1] == written
        assert engine.is_idle


def test_calls_from_other_threads() -> None:
    """Many calls on a running device, a few of them cancelled from a listener."""
    model, recorder = MODELS["qwen3"], Recorder()
    prompts = {(0, n): [n % 5, n, 3, *range(n % 7)] for n in range(24)}
    with Device() as device:
        engine = BatchingEngine(model, device, 4, 16)
        for key, prompt in prompts.items():
            engine.submit(EngineCall(key, prompt, 10), recorder)
        for number in (3, 9, 23):
            engine.cancel((0, number))
        recorder.wait_for(*prompts)
    assert engine.is_idle
    for key, prompt in prompts.items():
        tokens = recorder.tokens.get(key, [])
        assert is_greedy(model, prompt, tokens)
        assert len(tokens) == 10 or key[1] in (3, 9, 23)
