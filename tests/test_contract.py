"""One set of cases for every backend that plays a conductor: same calls, order and prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import pytest

from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.sampling import Sampling
from staircase import (
    Agent,
    Barrier,
    Pipeline,
    Schedule,
    Staircase,
    Window,
    chain,
    constant,
    debate,
    explicit,
    geometric,
    moa,
    normal,
    paper_default,
    single,
    uniform,
)
from staircase.pipeline import Arrival, Fork
from staircase.revisions.acceptance import CheckedText
from staircase.schedule import LAYOUTS, REBUILT_LAYOUTS, Layout
from staircase.timeline import Span
from staircase.votes import Vote
from tests.support.backends import (
    Backend,
    BatchingBackend,
    EndpointBackend,
    OpenAIBackend,
    Played,
    ScriptedBackend,
    ServedBackend,
    SimulatedBackend,
    TransformersBackend,
    Updates,
)
from tests.support.real_servers import SERVERS, RealServers, server_params

MOA = moa([["a", "b", "c"]], "z")
TYPING = Arrival(2000.0, segment_tokens=4)
WITH_INPUT = replace(MOA, agents=(Agent("a", arrival=TYPING), *MOA.agents[1:]))
TYPED = Pipeline((Agent("typed", arrival=TYPING), Agent("z", reads=("typed",))), "z")
PEERS_OF_EACH_OTHER = Pipeline(
    (
        Agent("a", reads=("b",), peers=("b",)),
        Agent("b", reads=("a",), peers=("a",)),
        Agent("z", reads=("a", "b")),
    ),
    "z",
)
SAMPLES = tuple(Agent(name) for name in "abc")
# Of a and c the texts are too long.
SHORT = Agent("v", reads=("a", "b", "c"), vote=Vote(over_tokens=25))
# One character in four begins an item, whatever a backend writes.
ITEM = "[" + "".join(re.escape(chr(code)) for code in range(3, 1100, 4)) + "]"
FORKED = Pipeline(
    (
        Agent("o", items=ITEM),
        Agent("c"),
        *(
            Agent(f"w.{n}", "w", ("o",), fork=Fork("o", n, sees), template="w")  # type: ignore[arg-type]
            for n, sees in enumerate(["text", "item", "text"], start=1)
        ),
        Agent("v.1", "w", ("o", "c"), fork=Fork("o", 1)),
        Agent("z", reads=("o", "w.1", "w.2", "w.3", "v.1")),
    ),
    "z",
)
FORKED_LENGTHS = {"o": 36, "c": 20, "w.1": 12, "w.2": 7, "w.3": 9, "v.1": 14, "z": 37}
BEGUN: Final = "begun"
TRIGGERED = Pipeline(
    (
        Agent("o", items=ITEM),
        Agent("typed", arrival=TYPING, items=ITEM),
        Agent("w.1", "w", ("o",), fork=Fork("o", 2, "item", BEGUN), template="w"),
        Agent("v.1", "w", ("typed", "o"), fork=Fork("typed", 1, starts_when=BEGUN)),
        Agent("z", reads=("o", "w.1", "v.1"), fork=Fork("o", 1, starts_when=BEGUN)),
    ),
    "z",
)
TRIGGERED_LENGTHS = {"o": 36, "typed": 9, "w.1": 12, "v.1": 14, "z": 37}
LENGTHS = {"a": 30, "b": 21, "c": 39, "z": 37}


@dataclass(frozen=True)
class Case:
    """``lengths`` are also the agents' limits, so that every backend writes the same amount."""

    pipeline: Pipeline
    schedule: Schedule
    lengths: dict[str, int]
    limited: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        agents = [replace(a, max_tokens=self.lengths[a.name]) for a in self.pipeline]
        object.__setattr__(self, "limited", replace(self.pipeline, agents=tuple(agents)))


def _moa(staircase: Staircase, **options: object) -> Case:
    schedule = replace(uniform(MOA, staircase), **options)  # type: ignore[arg-type]
    return Case(MOA, schedule, LENGTHS)


def _any(pipeline: Pipeline, staircase: Staircase, **options: object) -> Case:
    lengths = {a.name: 12 + 5 * n for n, a in enumerate(pipeline)}
    schedule = replace(uniform(pipeline, staircase), **options)  # type: ignore[arg-type]
    return Case(pipeline, schedule, lengths)


def _vote(vote: Agent, written: int, *readers: Agent, **options: object) -> Case:
    """``written``: tokens of the text that ``vote`` takes."""
    pipeline = Pipeline((*SAMPLES, vote, *readers), "z" if readers else "v")
    schedule = replace(uniform(pipeline, constant(4, 6, 5)), **options)  # type: ignore[arg-type]
    return Case(pipeline, schedule, {**LENGTHS, "v": written})


CASES = {
    "single": _any(single(), normal()),
    "normal": _moa(normal()),
    "paper": _moa(paper_default()),
    **{f"paper {layout}": _moa(paper_default(8, 8), layout=layout) for layout in LAYOUTS},
    "geometric": _moa(geometric(2, 2.0, 16, 3)),
    "explicit": _moa(explicit([(0, 4), (5, 1), (40, 9)])),
    "reads nothing first": _moa(constant(0, 20, 5)),
    "without one": _moa(constant(4, 6, 5), without=("b",)),
    "early end": _moa(constant(4, 1, 12)),
    "early end, continued": _moa(constant(4, 4, 12), early_end="continue"),
    "chain": _any(chain(["x", "y", "z"]), constant(4, 6, 5)),
    "two layers": _any(moa([["a", "b"], ["c", "d"]], "z"), constant(4, 6, 5)),
    "an input": _any(WITH_INPUT, constant(5, 5, 6)),
    "an input, read whole": _any(WITH_INPUT, normal()),
    "a question that is typed": _any(TYPED, constant(3, 4, 5)),
    **{
        f"through a window, {layout}": _any(
            TYPED, constant(3, 4, 5), layout=layout, window=Window(6, 3)
        )
        for layout in REBUILT_LAYOUTS
    },
    "an input beside others, through a window": _any(
        WITH_INPUT, constant(5, 5, 6), layout="rebuild", window=Window(4)
    ),
    "a vote": _vote(replace(SHORT, vote=Vote()), 30, Agent("z", reads=("v",))),
    "a vote that answers": _vote(SHORT, 21),
    "a vote, one by one": _vote(
        SHORT, 21, Agent("z", reads=("v",)), barrier=Barrier("ahead", 1), at_once=1
    ),
    "debate": _any(debate(["a", "b"], 2), constant(6, 6, 6)),
}

PEERS = Case(
    PEERS_OF_EACH_OTHER,
    Schedule({"a": constant(1, 1, 5), "b": constant(1, 1, 5)}),
    {"a": 30, "b": 30, "z": 12},
)

BACKENDS: dict[str, Backend] = {
    "simulator": SimulatedBackend(),
    "endpoint": EndpointBackend(),
    "scripted": ScriptedBackend(),
    "transformers": TransformersBackend(),
    "transformers, guessing": TransformersBackend(lookup=PromptLookup(min_ngram=1)),
    "openai text": OpenAIBackend(has_ids=False),
    "openai ids": OpenAIBackend(has_ids=True),
    "batching": BatchingBackend(),
    "batching, guessing": BatchingBackend(lookup=PromptLookup(min_ngram=1)),
}
EVERY_BACKEND = [
    *(
        pytest.param(name, marks=pytest.mark.slow if "guessing" in name else ())
        for name in BACKENDS
    ),
    *server_params(SERVERS),
]


@pytest.fixture(scope="module")
def backend(
    request: pytest.FixtureRequest, real_servers: RealServers, letter_model: Path
) -> Iterator[Backend]:
    """By its name; those of real servers are opened here."""
    if request.param in BACKENDS:
        yield BACKENDS[request.param]
    else:
        url = real_servers.url(SERVERS[request.param], letter_model)
        with ExitStack() as stack:
            yield ServedBackend.open(stack, url, letter_model)


def by_agent(played: Played) -> dict[str, list[tuple[object, ...]]]:
    """Each agent's calls in order; calls of different agents may overtake each other."""
    table: dict[str, list[tuple[object, ...]]] = {}
    for call in played.calls:
        row = (call.step, call.read, call.written, call.prompt, call.max_tokens, call.is_last)
        table.setdefault(call.agent, []).append(row)
    return table


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def expected(case: Case) -> Played:
    return SimulatedBackend().play(case.limited, case.schedule, case.lengths)


@pytest.fixture(scope="module")
def played(backend: Backend, case: Case) -> Played:
    """Once for all that is looked at."""
    return backend.play(case.limited, case.schedule, case.lengths)


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
class TestEveryBackend:
    def test_starts_the_same_calls(self, played: Played, expected: Played) -> None:
        assert by_agent(played) == by_agent(expected)

    def test_leaves_nothing_behind(self, played: Played, case: Case) -> None:
        line = played.timeline
        assert line.error is None
        assert len(line.spans) == len(played.calls)
        assert sum(s.output_tokens for s in line.spans) == sum(line.written.values())
        assert len(line.answer_ps) == line.written[case.pipeline.answer]
        assert list(line.answer_ps) == sorted(line.answer_ps)

    def test_reads_only_what_was_written(self, played: Played, case: Case) -> None:
        for span in played.timeline.spans:
            sources = case.pipeline[span.agent].reads
            written = [
                sum(
                    s.output_tokens
                    for s in played.timeline.spans
                    if s.agent == source
                    and s.first_token_ps is not None
                    and s.first_token_ps <= span.submitted_ps
                )
                for source in sources
            ]
            assert all(read <= there for read, there in zip(span.read, written, strict=True))


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_the_papers_order(backend: Backend) -> None:
    """Proposers start at once; a round is read when the slowest has it; the last step is free."""
    case = _moa(paper_default(16, 8))
    played = backend.play(case.limited, case.schedule, case.lengths)
    assert sorted(call.agent for call in played.calls[:3]) == ["a", "b", "c"]
    steps = [(call.read, call.written, call.max_tokens) for call in played.calls[3:]]
    assert steps == [
        ((8, 8, 8), 0, 8),
        ((24, 21, 24), 8, 8),
        ((30, 21, 39), 16, 21),
    ]


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_peers_read_each_other(backend: Backend) -> None:
    """What they have by then, which depends on the clock; nobody waits, and everybody ends."""
    played = backend.play(PEERS.limited, PEERS.schedule, PEERS.lengths)
    line = played.timeline
    assert line.error is None
    assert line.written == PEERS.lengths
    for name, peer in (("a", "b"), ("b", "a")):
        calls = [call for call in played.calls if call.agent == name]
        assert [call.max_tokens for call in calls[:3]] == [5, 5, 5]
        reads = [call.read[0] for call in calls]
        assert reads[0] == 0
        assert reads == sorted(reads)
        assert 0 < reads[-1] <= PEERS.lengths[peer]
    last = [call for call in played.calls if call.agent == "z"]
    assert [call.read for call in last] == [(30, 30)]


HEARD = Pipeline(
    (
        Agent("heard", arrival=TYPING, max_tokens=100),
        Agent("z", reads=("heard",), max_tokens=37),
    ),
    "z",
)
# So far apart that z has nothing to do when they come: five words stay, then all.
UPDATES: Updates = {
    "heard": (
        (0.01, "a b c d e f g h"),
        (0.8, "a b c d e F G H I J K"),
        (1.6, "a b c d e F G H I J K L M N O"),
    )
}


# All of what comes before stays.
GROWING: Updates = {
    "heard": (
        (0.01, "a b c d"),
        (0.8, "a b c d e f g h"),
        (1.6, "a b c d e f g h i j k l"),
        (2.4, "a b c d e f g h i j k l m n o"),
    )
}
REVISIONS: tuple[Literal["rewrite", "keep"], ...] = ("rewrite", "keep")
LEVELS = (None, 8)
HEARD_LENGTHS = {"heard": 15, "z": 37}
WAITED: dict[str, tuple[Schedule, Updates]] = {
    **{
        revision: (Schedule({"z": constant(4, 4, 5)}, revision=revision), UPDATES)
        for revision in REVISIONS
    },
    **{
        f"checked {level}": (Schedule({"z": constant(4, 4, 9)}, "rebuild", checked=level), GROWING)
        for level in LEVELS
    },
}


@pytest.fixture(scope="module")
def waited(backend: Backend) -> dict[str, Played]:
    """All at the same time, for what takes long is that nothing comes; but an engine's calls are
    those of a single runtime, so where plays share one they are played in turn."""
    with ThreadPoolExecutor(1 if isinstance(backend, ServedBackend) else None) as pool:
        plays = {
            name: pool.submit(backend.play, HEARD, schedule, HEARD_LENGTHS, updates)
            for name, (schedule, updates) in WAITED.items()
        }
    return {name: play.result() for name, play in plays.items()}


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_a_text_that_is_replaced(waited: dict[str, Played], revision: str) -> None:
    """What was written after more than five words is written anew, or goes on as it is."""
    schedule, updates = WAITED[revision]
    expected = SimulatedBackend().play(HEARD, schedule, HEARD_LENGTHS, updates)
    played = waited[revision]
    assert by_agent(played) == by_agent(expected)
    calls = [call for call in played.calls if call.agent == "z"]
    assert [call.read for call in calls] == [(4,), (8,), (8,), (12,), (15,)]
    kept = 5 if revision == "rewrite" else 10
    assert [call.standing for call in calls] == [0, 5, kept, kept + 5, kept + 10]
    # The old words before the revision, the new ones behind the five that stay.
    old, new = ([s for s in c.prompt.segments if s.source == "heard"] for c in calls[1:3])
    assert old == [("heard", 0, 4), ("heard", 4, 8)]
    assert new == [("heard", 0, 4), ("heard", 4, 5), ("heard", 8, 11)]
    assert played.timeline.written == HEARD_LENGTHS
    assert played.timeline.retracted_tokens == 10 - kept
    assert len(played.timeline.answer_ps) == HEARD_LENGTHS["z"]


@dataclass(frozen=True)
class Kept:
    """So much stands as stood in ``spans``."""

    spans: Sequence[Span]

    def kept_tokens(self, checked: CheckedText) -> int:
        here = (checked.agent, checked.step)
        return next(s.kept_tokens for s in self.spans if (s.agent, s.step) == here)


@pytest.mark.parametrize("checked", LEVELS)
@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_a_text_that_is_checked(waited: dict[str, Played], checked: int | None) -> None:
    """The same calls wherever as much of the text stands, and nothing shown before it does."""
    schedule, updates = WAITED[f"checked {checked}"]
    played = waited[f"checked {checked}"]
    spans = [span for span in played.timeline.spans if span.agent == "z"]
    kept = SimulatedBackend(acceptance=Kept(spans))
    expected = kept.play(HEARD, schedule, HEARD_LENGTHS, updates)
    assert by_agent(played) == by_agent(expected)
    calls = [call for call in played.calls if call.agent == "z"]
    assert [call.read for call in calls] == [(4,), (8,), (12,), (15,)]
    assert [call.settles for call in calls] == [
        False,
        checked is not None,
        checked is not None,
        True,
    ]
    assert calls[1].checked == 9
    assert [s.checked_tokens for s in spans] == [call.checked for call in calls]
    # What was taken back is written again, and as much more as the step says.
    assert [call.standing for call in calls] == [0, 9, 18, 27]
    line = played.timeline
    assert line.retracted_tokens == 0
    assert line.written == HEARD_LENGTHS
    first = next(span for span, call in zip(spans, calls, strict=True) if call.settles)
    assert first.first_token_ps is not None
    assert min(line.answer_ps) >= first.started_ps
    assert list(line.answer_ps) == sorted(line.answer_ps)


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
def test_a_vote_takes_what_another_wrote(backend: Backend) -> None:
    """Those on whom it need not wait are never asked."""
    case = CASES["a vote, one by one"]
    played = backend.play(case.limited, case.schedule, case.lengths)
    assert [call.agent for call in played.calls[:3]] == ["a", "b", "v"]
    found = played.timeline.votes["v"]
    assert (found.winner, found.asked, found.cast, found.discarded) == ("b", 2, 1, 1)
    assert played.timeline.written["v"] == played.timeline.written["b"] == 21


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize("layout", ["append_rounds", "rebuild"])
def test_items_start_branches(backend: Backend, layout: Layout) -> None:
    """What the simulator starts whose text has the same items."""
    steps = {"z": constant(4, 6, 5), "v.1": constant(6, 6, 4)}
    case = Case(FORKED, Schedule(steps, layout), FORKED_LENGTHS)
    played = backend.play(case.limited, case.schedule, case.lengths)
    items = played.timeline.items
    assert len(items["o"]) > 0
    expected = SimulatedBackend(items=items).play(case.limited, case.schedule, case.lengths)
    assert by_agent(played) == by_agent(expected)
    started = {call.agent for call in played.calls if call.agent.startswith("w")}
    assert started == {f"w.{n}" for n in range(1, min(len(items["o"]), 3) + 1)}


@pytest.mark.parametrize("backend", EVERY_BACKEND, indirect=True)
@pytest.mark.parametrize("layout", ["append_rounds", "rebuild"])
def test_items_that_begin_start_the_answer(backend: Backend, layout: Layout) -> None:
    """And other branches; items of what an engine writes, and of an input."""
    steps = {"z": constant(4, 6, 5), "v.1": constant(6, 6, 4)}
    case = Case(TRIGGERED, Schedule(steps, layout), TRIGGERED_LENGTHS)
    played = backend.play(case.limited, case.schedule, case.lengths)
    items = played.timeline.items
    assert min(len(items["o"]), len(items["typed"])) > 0
    expected = SimulatedBackend(items=items).play(case.limited, case.schedule, case.lengths)
    assert by_agent(played) == by_agent(expected)
    first = next(call for call in played.calls if call.agent == "z")
    assert first.read[0] == items["o"][0] + 1


TIMED: dict[str, Backend] = {
    "simulator": SimulatedBackend(frozenset("c")),
    "endpoint": EndpointBackend(frozenset("c")),
    "scripted": ScriptedBackend(frozenset("c")),
    "openai text": OpenAIBackend(has_ids=False, slow=frozenset("c")),
}


@pytest.mark.parametrize("timed", TIMED)
class TestWithASourceThatHangs:
    """``c`` takes ten seconds or more to its first token."""

    def play(self, timed: str, **options: object) -> Played:
        case = _moa(constant(8, 16, 8), **options)
        return TIMED[timed].play(case.limited, case.schedule, case.lengths)

    def test_quorum_does_not_wait(self, timed: str) -> None:
        played = self.play(timed, barrier=Barrier("quorum", count=2))
        reads = [call.read for call in played.calls if call.agent == "z"]
        assert reads[0] == (8, 8, 0)
        assert reads[-1] == (30, 21, 0)
        assert played.timeline.written["z"] == LENGTHS["z"]

    def test_grace_waits_once(self, timed: str) -> None:
        barrier = Barrier("grace", count=2, grace_s=0.05)
        line = self.play(timed, barrier=barrier).timeline
        spans = [span for span in line.spans if span.agent == "z"]
        b = next(span for span in line.spans if span.agent == "b")
        assert b.first_token_ps is not None
        waited = spans[0].submitted_ps - b.first_token_ps
        assert 0.05e12 <= waited < 0.2e12
        assert spans[-1].ended_ps - spans[0].submitted_ps < 0.5e12

    def test_the_hanging_call_is_cancelled(self, timed: str) -> None:
        line = self.play(timed, barrier=Barrier("quorum", count=2)).timeline
        assert {span.reason for span in line.spans if span.agent == "c"} == {"cancelled"}


CLOCKED = ["simulator", "endpoint", "scripted", "openai ids"]


@pytest.mark.parametrize("backend", CLOCKED, indirect=True)
def test_starving_reader_keeps_on_writing(backend: Backend) -> None:
    case = _moa(constant(8, 16, 2), starve="write")
    played = backend.play(case.limited, case.schedule, case.lengths)
    spans = [span for span in played.timeline.spans if span.agent == "z"]
    assert any(span.reason == "cancelled" for span in spans)
    assert played.timeline.written["z"] == LENGTHS["z"]


@pytest.mark.parametrize("backend", CLOCKED, indirect=True)
def test_latest_reads_at_least_as_much_as_exact(backend: Backend) -> None:
    lengths = {"a": 60, "b": 60, "c": 60, "z": 60}
    case = Case(MOA, replace(uniform(MOA, constant(4, 4, 8)), reading="latest"), lengths)
    played = backend.play(case.limited, case.schedule, case.lengths)
    reads = [min(call.read) for call in played.calls if call.agent == "z"]
    assert all(read >= min(4 + 4 * step, 60) for step, read in enumerate(reads))
    assert any(read > 4 + 4 * step for step, read in enumerate(reads))


# So warm that many tokens are likely although random models are sure of themselves.
WARM = Sampling(temperature=2.0, seed=1)
SAMPLED: dict[str, tuple[Backend, Backend]] = {
    "transformers": (TransformersBackend(WARM), TransformersBackend(replace(WARM, seed=2))),
    "batching": (BatchingBackend(WARM), BatchingBackend(replace(WARM, seed=2))),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_seeded_sampling_is_repeatable(name: str) -> None:
    case = _moa(constant(8, 8, 8))
    backend, other = SAMPLED[name]
    one, two, three = (
        played.play(case.limited, case.schedule, case.lengths).ids
        for played in (backend, backend, other)
    )
    assert one == two
    assert all(list(one[agent]) != list(three[agent]) for agent in LENGTHS)


def test_natural_ends_cost_a_call_that_writes_nothing() -> None:
    """With reading continued after an early end, every later step ends at once."""
    pipeline = Pipeline((Agent("a"), Agent("z", reads=("a",))), "z")
    schedule = Schedule({"z": constant(4, 4, 8)}, early_end="continue")
    played = SimulatedBackend().play(pipeline, schedule, {"a": 16, "z": 8})
    written = [span.output_tokens for span in played.timeline.spans if span.agent == "z"]
    assert written == [8, 0, 0, 0, 0]
