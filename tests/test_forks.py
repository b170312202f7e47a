"""Forks: branches that an item of another agent's text starts, while that is still written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from executor.gateway.served_plan import (
    CHOSEN,
    NORMAL,
    SINGLE,
    Point,
    ServedPlan,
    ServingLimits,
    ladder_of,
    single_point,
)
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.item_starts import ItemStarts
from planner.profiling.length_profiling import _lengths
from planner.search.space import Space
from profiles.lengths import LengthProfile, load_lengths, save_lengths
from profiles.store import provenance_of_now
from profiles.subject import PipelineSubject
from simulator.analytic.request_form import closed_form
from simulator.analytic.sketch import sketch_of
from simulator.compiled.play import play_compiled
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from simulator.profile_forecaster import sampled_workload
from simulator.unread import unread_of_timeline
from simulator.workloads import workload_of
from staircase import (
    Agent,
    Barrier,
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
    normal,
    uniform,
)
from staircase.conductor import Conductor
from staircase.errors import PipelineError, ScheduleError, WorkloadError
from staircase.messages import Call, CallEnded, CallFailed, Item, StartCall, TokensThere
from staircase.metrics.item_counts import item_lines
from staircase.metrics.ttft import ttft_path
from staircase.pipeline import Fork
from staircase.prompt import Segment
from staircase.spec.pipeline_spec import PipelineSpec
from staircase.spec.plan_spec import PlanSpec
from staircase.spec.scenario import Scenario
from staircase.spec.workload_spec import WorkloadSpec
from staircase.timeline import to_ps
from staircase.workload import Question
from tests.support.backends import FORM
from tests.support.characters import Characters
from tests.support.gateway_server import running
from tests.support.scripted_engine import ScriptedEngine

# A token every 0.01 s, the first after 0.1 s, so that token n is there at 0.09 + 0.01·n.
ENGINE = EndpointSetup(to_ps(0.1), to_ps(0.01))
BEGUN = [Item(0, 1), Item(20, 21)]
NUMBERED = r"(?m)^\s*\d+[.)] "


def branches(count: int) -> list[Agent]:
    return [
        Agent(f"w.{n}", "w", ("o",), fork=Fork("o", n), template="w") for n in range(1, count + 1)
    ]


def forked(count: int) -> Pipeline:
    """An outline, ``count`` workers, and a join that reads all."""
    workers = branches(count)
    reads = ("o", *(agent.name for agent in workers))
    return Pipeline((Agent("o", items="x"), *workers, Agent("z", reads=reads)), "z")


def shape(items: Sequence[int], **lengths: int) -> RequestShape:
    known = {"o": 60, "z": 5, **{f"w.{n}": 10 for n in range(1, 7)}, **lengths}
    return RequestShape({"query/w": 4}, known, "length", items={"o": items})


def play(
    pipeline: Pipeline, request: RequestShape, schedule: Schedule | None = None
) -> tuple[Timeline, dict[str, list[Call]]]:
    calls: dict[str, list[Call]] = {}
    engines = dict.fromkeys(pipeline.engines, ENGINE)
    line = simulate(
        pipeline,
        schedule or uniform(pipeline, normal()),
        engines,
        Workload([request]),
        lambda call: calls.setdefault(call.agent, []).append(call),
    )[0]
    return line, calls


def began_s(line: Timeline, agent: str) -> float:
    return next(span.submitted_ps for span in line.spans if span.agent == agent) / 1e12


def test_a_branch_starts_when_the_next_item_begins() -> None:
    """Or when the text has ended: while it is written, nobody knows that an item is complete."""
    line, calls = play(forked(3), shape([2, 20, 40]))
    assert [began_s(line, f"w.{n}") for n in (1, 2, 3)] == [0.3, 0.5, 0.69]
    assert [calls[f"w.{n}"][0].read for n in (1, 2, 3)] == [(20,), (40,), (60,)]
    assert calls["z"][0].read == (60, 10, 10, 10)


def test_branches_share_the_beginning_of_their_prompts() -> None:
    _, calls = play(forked(2), shape([0, 20]))
    one, two = (calls[name][0].prompt.segments for name in ("w.1", "w.2"))
    assert one == (Segment("query/w", 0, 4), Segment("o", 0, 20))
    assert two == (Segment("query/w", 0, 4), Segment("o", 0, 60))


def test_a_branch_may_see_its_item_alone() -> None:
    agents = [
        replace(agent, fork=replace(agent.fork, sees="item")) if agent.fork else agent
        for agent in forked(2)
    ]
    _, calls = play(Pipeline(tuple(agents), "z"), shape([3, 20]))
    assert calls["w.1"][0].prompt.segments[-1] == Segment("o", 3, 20)
    assert calls["w.2"][0].prompt.segments[-1] == Segment("o", 20, 60)


@pytest.mark.parametrize("items", [[], [0], [5, 9]])
def test_a_branch_whose_item_never_comes_has_said_nothing(items: list[int]) -> None:
    line, calls = play(forked(3), shape(items))
    assert [name for name in calls if name.startswith("w")] == [
        f"w.{n + 1}" for n in range(len(items))
    ]
    there = tuple(10 if n < len(items) else 0 for n in range(3))
    assert calls["z"][0].read == (60, *there)
    assert line.error is None


def test_items_that_nobody_is_there_for_are_read_by_the_join() -> None:
    line, calls = play(forked(1), shape([0, 10, 20]))
    assert calls["w.1"][0].read == (10,)
    assert calls["z"][0].read == (60, 10)
    assert line.items == {"o": [0, 10, 20]}


def test_a_run_tells_how_many_items_there_were() -> None:
    pipeline = forked(2)
    lines = [play(pipeline, shape(items))[0] for items in ([0], [0, 10], [0, 10, 20, 30])]
    assert item_lines(pipeline, lines) == [
        "o: 2.3 items a text, 1 to 4; 1 of 3 texts have more than the 2 that start a branch"
    ]


def test_items_beyond_what_is_written_never_begin() -> None:
    line, calls = play(forked(3), shape([0, 30, 60], o=60))
    assert line.items == {"o": [0, 30]}
    assert "w.3" not in calls
    assert calls["w.2"][0].read == (60,)


def test_the_source_is_cut_off_when_only_its_branches_read_it() -> None:
    """All that anybody waits for of it is there when the last branch has its item."""
    workers = branches(2)
    pipeline = Pipeline((Agent("o", items="x"), *workers, Agent("z", reads=("w.1", "w.2"))), "z")
    line, calls = play(pipeline, shape([0, 10, 20]))
    assert line.written["o"] == 21
    assert line.spans[0].reason == "cancelled"
    assert calls["z"][0].read == (10, 10)


def test_branches_of_branches() -> None:
    workers = [replace(agent, items="y") for agent in branches(2)]
    subs = [
        Agent(f"s.{w}.{n}", "s", (f"w.{w}",), fork=Fork(f"w.{w}", n), template="s")
        for w in (1, 2)
        for n in (1, 2)
    ]
    names = tuple(agent.name for agent in subs)
    pipeline = Pipeline((Agent("o", items="x"), *workers, *subs, Agent("z", reads=names)), "z")
    request = replace(
        shape([0], **dict.fromkeys(names, 3)), items={"o": [0], "w.1": [0, 4], "w.2": [0, 4]}
    )
    line, calls = play(pipeline, request)
    # w.1 began at 0.69 s, so its fifth token was there at 0.83.
    assert began_s(line, "s.1.1") == pytest.approx(0.83)
    assert [name for name in calls if name.startswith("s")] == ["s.1.1", "s.1.2"]
    assert calls["z"][0].read == (3, 3, 0, 0)


def test_the_join_reads_in_steps() -> None:
    """A branch that has not started is waited for like any other that has not written yet."""
    pipeline = forked(2)
    schedule = Schedule({"z": constant(5, 5, 2)})
    line, calls = play(pipeline, shape([0, 30]), schedule)
    reads = [call.read for call in calls["z"]]
    assert reads[0] == (5, 5, 5)
    # w.2 begins with the end of the outline, at 0.69 s, and has five tokens 0.14 s later.
    assert began_s(line, "z") == pytest.approx(0.83)
    few = play(pipeline, shape([0]), schedule)
    assert few[1]["z"][0].read == (5, 5, 0)


def test_a_branch_reads_others_in_steps_once_its_item_is_there() -> None:
    agents = [replace(agent, reads=("o", "c")) if agent.fork else agent for agent in forked(2)]
    pipeline = Pipeline((*agents, Agent("c")), "z")
    assert [agent.name for agent in pipeline.readers] == ["w.1", "w.2", "z"]
    schedule = Schedule({"w.1": constant(4, 4, 4), "w.2": constant(50, 50, 4)})
    line, calls = play(pipeline, shape([0, 20, 30], c=55), schedule)
    assert [call.read for call in calls["w.1"]] == [(20, 4), (20, 8), (20, 12)]
    assert began_s(line, "w.1") == 0.3
    # It has its item at 0.4 s, and 50 tokens of c at 0.59.
    assert calls["w.2"][0].read == (30, 50)
    assert began_s(line, "w.2") == pytest.approx(0.59)


def test_no_barrier_starts_a_branch_without_its_item() -> None:
    agents = [replace(agent, reads=("o", "c")) if agent.fork else agent for agent in forked(1)]
    pipeline = Pipeline((*agents, Agent("c")), "z")
    schedule = Schedule({"w.1": constant(4, 4, 4)}, barrier=Barrier("quorum", 1))
    line, calls = play(pipeline, shape([40, 50], c=5), schedule)
    assert calls["w.1"][0].read == (50, 4)
    assert began_s(line, "w.1") == 0.6


def test_branches_may_be_peers() -> None:
    agents = [
        replace(agent, reads=("o", other), peers=(other,)) if agent.fork else agent
        for agent, other in zip(forked(2), ("", "w.2", "w.1", ""), strict=True)
    ]
    schedule = Schedule({name: constant(1, 1, 4) for name in ("w.1", "w.2")})
    _, calls = play(Pipeline(tuple(agents), "z"), shape([0, 20, 24]), schedule)
    assert [call.read[0] for call in calls["w.2"]] == [24, 24, 24]
    assert calls["w.2"][-1].read[1] > 0


def test_a_schedule_may_leave_branches_out() -> None:
    schedule = Schedule(without=("w.2",))
    _, calls = play(forked(2), shape([0, 30]), schedule)
    assert "w.2" not in calls
    with pytest.raises(ScheduleError, match=r"without 'o': must be .* or a branch: w\.1"):
        Schedule(without=("o",)).check(forked(2))


def test_a_search_leaves_out_the_last_branches() -> None:
    space = Space(forked(4), PlanSpec(leave_out=2))
    found = {space.schedule(point).without for point in space}
    assert found == {(), ("w.4",), ("w.3", "w.4")}


def test_a_branch_that_fails_has_said_what_it_wrote() -> None:
    conductor = Conductor(forked(2), Schedule())
    conductor.start()
    written = {"o": 25, "w.1": 0, "w.2": 0, "z": 0}
    started = conductor.handle(TokensThere("o"), written, {"o": BEGUN})
    assert [command.call.agent for command in started if isinstance(command, StartCall)] == ["w.1"]
    conductor.handle(CallFailed(1, "broken"), {**written, "w.1": 3}, {"o": BEGUN})
    conductor.handle(CallEnded(0, "stop"), {**written, "w.1": 3}, {"o": BEGUN})
    last = conductor.handle(CallEnded(2, "stop"), {**written, "w.1": 3, "w.2": 9}, {"o": BEGUN})
    (join,) = [command.call for command in last if isinstance(command, StartCall)]
    assert (join.agent, join.read) == ("z", (25, 3, 9))


def test_unread_is_of_what_was_waited_for_in_steps() -> None:
    """Not of the outline, of which a branch shall see no more than its item."""
    pipeline, request = forked(2), shape([0, 20])
    line, _ = play(pipeline, request)
    assert unread_of_timeline(pipeline, Schedule(), line, request) == 0


def test_the_way_to_the_first_token_leads_through_the_last_branch() -> None:
    pipeline = forked(2)
    line, _ = play(pipeline, shape([0, 20, 50], **{"w.2": 40}))
    path = ttft_path(line, pipeline, Schedule(), {})
    assert list(dict.fromkeys(one.agent for one in path)) == ["o", "w.2", "z"]
    assert sum(one.length_ps for one in path) == line.answer_ps[0]


def test_what_needs_a_table_or_a_closed_form_leaves_it() -> None:
    pipeline, request = forked(2), shape([0, 20])
    engines = dict.fromkeys(pipeline.engines, ENGINE)
    assert play_compiled(pipeline, Schedule(), engines, Workload([request])) is None
    assert sketch_of(pipeline, engines, Workload([request])) is None
    with pytest.raises(ScheduleError, match="no closed form: items of a text start agents"):
        closed_form(pipeline, Schedule(), engines, request)


def test_a_workload_says_where_items_begin() -> None:
    request = replace(shape([]), items={})
    with pytest.raises(WorkloadError, match="does not say where items of 'o' begin"):
        play(forked(1), request)


def test_what_starts_a_branch_has_items() -> None:
    with pytest.raises(PipelineError, match="give it 'items'"):
        Pipeline((Agent("o"), *branches(1), Agent("z", reads=("w.1",))), "z")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"items": "("}, "is no regular expression"),
        ({"items": " *"}, "matches an empty text"),
        ({"fork": Fork("o", 1)}, "must read 'o'"),
        ({"reads": ("o",), "peers": ("o",), "fork": Fork("o", 1)}, "and not as its peer"),
        ({"reads": ("o",), "fork": Fork("o", 0)}, "item 0, must be 1 or more"),
    ],
)
def test_what_an_agent_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        Agent("a", **options)  # type: ignore[arg-type]


class Pieces(Characters):
    """Token n of a text is its n-th piece."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.pieces[number] for number in ids)


def starts(pieces: Sequence[str], pattern: str = NUMBERED) -> list[int]:
    """Tokens before each item."""
    found, tokens = ItemStarts(pattern, Pieces(pieces).decode), range(len(pieces))
    return [start for count in tokens for start in found.update(tokens[: count + 1])]


def test_items_of_a_list() -> None:
    text = "Sure:\n1. Tea is hot.\n2) 10. of them\n\n 3. Last"
    places = starts(text)
    assert [text[place:] for place in places] == [
        "1. Tea is hot.\n2) 10. of them\n\n 3. Last",
        "2) 10. of them\n\n 3. Last",
        "\n 3. Last",
    ]


def test_a_token_that_reaches_into_an_item_belongs_to_it() -> None:
    assert starts(["1.", " one\n2", ". two"]) == [0, 1]
    assert starts(["1.", " one\n", "2", ". two"]) == [0, 2]


def test_an_item_is_seen_as_soon_as_it_matches() -> None:
    pieces = ["1. one", "\n2", ".", " ", "two"]
    found = ItemStarts(NUMBERED, Pieces(pieces).decode)
    seen = [found.update(range(count)) for count in range(1, 6)]
    # The line break is the space before the number, so the token with it is the item's.
    assert seen == [[0], [], [], [1], []]


def test_a_letter_of_several_tokens_is_not_cut() -> None:
    class Bytes:
        def decode(self, ids: Sequence[int]) -> str:
            return bytes(ids).decode("utf-8", "replace")

    ids = list("a€b".encode())
    found = ItemStarts("€", Bytes().decode)
    assert [found.update(ids[:count]) for count in range(1, 6)] == [[], [], [], [1], []]


@given(
    st.text(st.sampled_from("12.) \nax"), max_size=60),
    st.lists(st.integers(0, 60), max_size=20),
    st.sampled_from([NUMBERED, "x+", "(?<!1)2", "a(?! )", r"(?=\d)", "1.*x|2"]),
)
@example("1. a\n12. b", [4, 5, 6], NUMBERED)
def test_items_are_the_same_whatever_the_pieces(text: str, cuts: list[int], pattern: str) -> None:
    """Of any text and pattern: as many tokens as lie before the same characters."""
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    characters = starts(text, pattern)
    found = starts(pieces, pattern)
    lengths = [sum(map(len, pieces[:count])) for count in found]
    assert len(found) == len(characters)
    for count, place, length in zip(found, characters, lengths, strict=True):
        assert length <= place
        # The next token that is not empty reaches beyond the item's beginning.
        rest = [piece for piece in pieces[count:] if piece]
        assert not rest or length + len(rest[0]) > place or length == place


def recited(outline: int = 60) -> tuple[Pipeline, dict[str, ServedModel], dict[str, int]]:
    """An outline of characters 1, 2, 3 … and items at every eighth, on scripted engines."""
    marks = re.escape("".join(map(chr, range(8, 64, 8))))
    agents = [replace(a, items=f"[{marks}]") if a.name == "o" else a for a in forked(3)]
    pipeline = Pipeline(tuple(replace(agent, engine=agent.name) for agent in agents), "z")
    lengths = {"o": outline, "w.1": 8, "w.2": 9, "w.3": 10, "z": 5}
    served = {name: ServedModel(ScriptedEngine(n), FORM) for name, n in lengths.items()}
    return pipeline, served, lengths


def test_a_run_starts_branches_while_the_outline_is_written() -> None:
    """In real time."""
    pipeline, served, lengths = recited()
    outcome = Runtime(served).run([Job(pipeline, Schedule(), Question("why"))])[0]
    line = outcome.timeline
    assert line.items == {"o": list(range(7, 60, 8))}
    outline = next(span for span in line.spans if span.agent == "o")
    assert all(began_s(line, f"w.{n}") < outline.ended_ps / 1e12 for n in (1, 2, 3))
    assert [call.read for call in outcome.calls if call.agent.startswith("w")] == [
        (15,),
        (23,),
        (31,),
    ]
    assert line.written == lengths


def test_a_plan_for_real_engines_goes_by_where_items_began(tmp_path: Path) -> None:
    pipeline, served, lengths = recited(20)
    outcome = Runtime(served).run([Job(pipeline, Schedule(), Question("why"))])[0]
    sample = _lengths(pipeline, outcome)
    of = PipelineSubject("z", {}, {})
    path = tmp_path / "lengths.json"
    save_lengths(path, LengthProfile((sample,), "forks", of, provenance_of_now({})))
    workload = sampled_workload(load_lengths(path).samples, 1)
    engines = dict.fromkeys(pipeline.engines, ENGINE)
    line = simulate(pipeline, Schedule(), engines, workload)[0]
    assert line.items == outcome.timeline.items == {"o": [7, 15]}
    assert line.written == {**lengths, "w.3": 0}


LIST = "o: {items: '- '}"


def pipeline_of(text: str) -> Pipeline:
    return PipelineSpec.model_validate(yaml.safe_load(text)).build()


class TestScenario:
    def test_a_template_stands_for_its_branches(self) -> None:
        found = pipeline_of(
            f"{{agents: {{{LIST}, w: {{for_each: o, branches: 2, sees: item, role: R}}, "
            "z: {reads: [w]}}, answer: z}"
        )
        assert [agent.name for agent in found] == ["o", "w.1", "w.2", "z"]
        expected = Agent("w.2", "w", ("o",), "R", fork=Fork("o", 2, "item"), template="w")
        assert found["w.2"] == expected
        assert found["z"].reads == ("w.1", "w.2")

    def test_templates_of_templates(self) -> None:
        found = pipeline_of(
            f"{{agents: {{{LIST}, w: {{for_each: o, branches: 2, items: x}}, "
            "s: {for_each: w, branches: 2}, z: {reads: [s, w.1]}}, answer: z}"
        )
        forks = {agent.name: agent.fork for agent in found if agent.template == "s"}
        assert forks == {f"s.{w}.{n}": Fork(f"w.{w}", n) for w in (1, 2) for n in (1, 2)}
        assert found["z"].reads == ("s.1.1", "s.1.2", "s.2.1", "s.2.2", "w.1")

    def test_branches_are_each_others_peers_and_not_their_own(self) -> None:
        found = pipeline_of(
            f"{{agents: {{{LIST}, c: {{}}, "
            "w: {for_each: o, branches: 2, reads: [c, o], peers: [w]}, "
            "z: {reads: [w]}}, answer: z}"
        )
        assert (found["w.1"].reads, found["w.1"].peers) == (("c", "o", "w.2"), ("w.2",))
        assert found["w.1"].waits_for == ("c",)

    @pytest.mark.parametrize(
        ("agents", "words"),
        [
            ("w: {for_each: q, branches: 2}", "agents.w.for_each: 'q' is no agent"),
            ("q: {}, w: {for_each: q, branches: 2}", "agents.w.for_each: 'q' has no 'items'"),
            ("q: {items: x}", "agents.q.items: start nobody; give an agent for_each: q"),
            (
                "a: {items: x, for_each: b, branches: 2}, b: {items: x, for_each: a, branches: 2}",
                "agents.a.for_each: a → b → a is a circle",
            ),
            (f"{LIST}, w: {{for_each: o, branches: 256}}", "make 258 agents, must be at most 256"),
            (
                f"{LIST}, w: {{for_each: o, branches: 200, items: x}}, "
                "s: {for_each: w, branches: 200}",
                "make 40202 agents, must be at most 256: give fewer branches",
            ),
        ],
    )
    def test_what_cannot_be(self, agents: str, words: str) -> None:
        with pytest.raises(PipelineError, match=re.escape(words)):
            pipeline_of(f"{{agents: {{{agents}, z: {{}}}}, answer: z}}")

    @pytest.mark.parametrize(
        ("agent", "words"),
        [
            ("{for_each: o}", "for_each and branches must be given together"),
            ("{branches: 2}", "for_each and branches must be given together"),
            ("{sees: item}", "sees is of branches; give for_each or take it away"),
        ],
    )
    def test_what_a_template_cannot_be(self, agent: str, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            pipeline_of(f"{{agents: {{w: {agent}}}, answer: w}}")

    def test_a_drawn_pipeline_has_none(self) -> None:
        with pytest.raises(PipelineError, match=r"agents\.a\.items: the drawn pipeline says this"):
            pipeline_of("{single: a, agents: {a: {items: x}}}")


class TestWorkload:
    PIPELINE = (
        f"{{agents: {{{LIST}, w: {{for_each: o, branches: 4}}, z: {{reads: [o, w]}}}}, answer: z}}"
    )
    ITEMS = "{o: {count: {values: [0, 1, 3, 9]}, sigma: 0.5}}"

    def workload(self, items: str = ITEMS, requests: int = 40) -> Workload:
        text = (
            f"{{requests: {requests}, output_tokens: {{o: 30, w: {{mean: 50, sigma: 0.5}}, z: 5}}, "
            f"items: {items}}}"
        )
        spec = WorkloadSpec.model_validate(yaml.safe_load(text))
        return workload_of(spec, pipeline_of(self.PIPELINE), Path())

    def test_items_are_drawn(self) -> None:
        requests = self.workload().requests
        assert {len(one.items["o"]) for one in requests} == {0, 1, 3, 9}
        for one in requests:
            starts = one.items["o"]
            assert list(starts) == sorted(starts)
            assert starts[:1] in ([0], [])
            assert all(start < 30 for start in starts)
        lengths = {tuple(one.items["o"]) for one in requests if len(one.items["o"]) == 3}
        assert len(lengths) > 1

    def test_a_template_says_how_long_each_branch_is(self) -> None:
        """Each has its own; one whose item never comes has none."""
        different = 0
        for one in self.workload().requests:
            written = [one.output_tokens[f"w.{n}"] for n in (1, 2, 3, 4)]
            there = min(len(one.items["o"]), 4)
            assert all(written[:there])
            assert not any(written[there:])
            different += len(set(written[:there])) == 4
        assert different > 0

    def test_items_share_a_text_alike(self) -> None:
        assert self.workload("{o: {count: 3}}", 1).requests[0].items == {"o": [0, 10, 20]}

    def test_no_more_items_than_tokens(self) -> None:
        assert self.workload("{o: {count: 100}}", 1).requests[0].items == {"o": list(range(30))}

    @pytest.mark.parametrize(
        ("workload", "words"),
        [
            ({"items": {}}, "workload.items: does not say how many 'o' writes"),
            ({"items": {"o": {"count": 3}, "z": {"count": 3}}}, "items of 'z' start nobody"),
            ({"items": {"o": {"read": 3}}}, "'o' reads nobody in steps; give count, not read"),
            ({"items": {"o": {"count": 3}, "q": {"count": 3}}}, "workload.items: 'q' is no agent"),
            ({"output_tokens": {"o": 3, "z": 5}}, "does not say how much 'w' writes"),
        ],
    )
    def test_what_a_scenario_must_say(self, workload: dict[str, object], words: str) -> None:
        known = {"output_tokens": {"o": 3, "w": 4, "z": 5}, "items": {"o": {"count": 3}}}
        engine = {"kind": "simulated", "decode_tokens_per_s": 40, "prefill_tokens_per_s": 6000}
        content = {
            "name": "forks",
            "pipeline": yaml.safe_load(self.PIPELINE),
            "engines": dict.fromkeys("owz", engine),
            "workload": {**known, **workload},
        }
        with pytest.raises(ValueError, match=words):
            Scenario.model_validate(content)


def test_a_gateway_serves_them() -> None:
    """Under load it falls back to the answer alone: no outline, no branches."""
    pipeline, served, _ = recited(20)
    chosen = Point(CHOSEN, pipeline, uniform(pipeline, constant(4, 6, 5)))
    points = [chosen, replace(chosen, name=NORMAL), single_point(pipeline)]
    ladder = ladder_of([chosen])
    assert [rung.name for rung in ladder] == [CHOSEN, SINGLE]
    named = {point.name: point for point in points}
    plan = ServedPlan("forks", Runtime(served), named, ladder, ServingLimits())
    with running(plan) as server:
        asked: Any = [{"role": "user", "content": "why"}]
        answer = server.client().chat.completions.create(model="forks", messages=asked)
    assert answer.choices[0].message.content == "".join(map(chr, range(1, 6)))
