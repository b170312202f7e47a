"""KV re-use changes nothing: greedy tokens in every layout equal those of a full prefill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.call_recorder import serve
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.rendering import render
from staircase import Pipeline, Schedule, explicit, moa
from staircase.schedule import LAYOUTS
from staircase.workload import Question
from tests.support.backends import FORM, VOCABULARY, engine_of, random_model

KINDS = ("llama", "qwen3")


def limited(limits: Mapping[str, int]) -> Pipeline:
    pipeline = moa([["a", "b", "c"]], "z")
    agents = [replace(agent, max_tokens=limits[agent.name]) for agent in pipeline]
    return replace(pipeline, agents=tuple(agents))


@torch.inference_mode()
def greedy(model: LoadedModel, prompt: Sequence[int], count: int) -> list[int]:
    """Every token from a full forward pass without a cache."""
    ids = list(prompt)
    for _ in range(count):
        logits = model.network(input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return random_model(request.param, seed=7)


@pytest.fixture(scope="module")
def runtime(model: LoadedModel) -> Iterator[Runtime]:
    with Device() as device:
        yield Runtime(
            {
                name: ServedModel(TransformersEngine(model, device), FORM)
                for name in ("a", "b", "c", "z")
            }
        )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    cuts = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=5))
    steps = [
        (read, write) for (_, write), read in zip(cuts, sorted(r for r, _ in cuts), strict=True)
    ]
    return Schedule({"z": explicit(steps)}, draw(st.sampled_from(LAYOUTS)))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    schedules(), st.lists(st.integers(1, 30), min_size=4, max_size=4), st.text("abcxyz", max_size=9)
)
def test_every_call_writes_what_a_full_prefill_would(
    model: LoadedModel, runtime: Runtime, schedule: Schedule, limits: list[int], query: str
) -> None:
    pipeline = limited(dict(zip("abcz", limits, strict=True)))
    outcome = runtime.run([Job(pipeline, schedule, Question(query))])[0]
    spans = {span.call: span for span in outcome.timeline.spans}
    for call in outcome.calls:
        written = outcome.ids[call.agent][call.written :][: spans[call.number].output_tokens]
        prompt = render(call.prompt, outcome.ids)
        assert written == greedy(model, prompt, len(written))


def test_a_longer_prompt_is_prefilled_from_where_it_differs(runtime: Runtime) -> None:
    pipeline = limited(dict.fromkeys("abcz", 20))
    schedule = Schedule({"z": explicit([(5, 4), (15, 4)])}, "append_rounds")
    line = runtime.run([Job(pipeline, schedule, Question("query"))])[0].timeline
    first, second, last = (span for span in line.spans if span.agent == "z")
    # What comes before the first own text stays; the own label and text move behind the new round.
    assert second.cached_tokens == first.prompt_tokens - len(FORM.own)
    assert last.cached_tokens == second.prompt_tokens - second.written - len(FORM.own)


@pytest.mark.parametrize(
    ("prompt", "words"), [([], "is empty"), ([1, VOCABULARY], "outside 0"), ([-1], "outside 0")]
)
def test_a_prompt_that_is_none_ends_only_its_call(
    model: LoadedModel, prompt: list[int], words: str
) -> None:
    """What is cached stays."""
    with engine_of(model) as engine:
        serve(engine, [[1, 2, 3]], 2)
        with pytest.raises(RuntimeError, match=words):
            serve(engine, [prompt], 2)
        heard = serve(engine, [[1, 2, 3]], 4)
    assert heard.tokens == [greedy(model, [1, 2, 3], 4)]
    assert heard.reports[0].cached_tokens == 2
