"""Inputs that replace part of what they said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from staircase import (
    Agent,
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
    uniform,
)
from staircase.errors import WorkloadError
from staircase.messages import Call
from staircase.metrics.request_metrics import measure
from staircase.pipeline import Arrival
from staircase.play import Play
from staircase.prompt import Segment
from staircase.standing_text import Pieces, StandingText, numbers
from staircase.timeline import to_ps
from staircase.updates import Update, written_tokens
from tests.support.random_cases import RandomCase, update_case

ENDPOINT = EndpointSetup(to_ps(0.1), to_ps(0.01))
HEARD = Agent("heard", arrival=Arrival(2.0), max_tokens=1000)
PIPELINE = Pipeline((HEARD, Agent("z", reads=("heard",))), "z")
WITH_NOTES = Pipeline(
    (HEARD, Agent("notes", reads=("heard",)), Agent("z", reads=("heard", "notes"))), "z"
)


def shape(updates: list[Update], **tokens: int) -> RequestShape:
    stand = updates[-1].standing + updates[-1].tokens
    fixed = {f"query/{name}": 5 for name in tokens}
    return RequestShape(fixed, {"heard": stand, **tokens}, "length", updates={"heard": (*updates,)})


def play(schedule: Schedule, request: RequestShape, pipeline: Pipeline = PIPELINE) -> Timeline:
    engines = dict.fromkeys(pipeline.engines, ENDPOINT)
    return simulate(pipeline, schedule, engines, Workload([request]))[0]


class TestStandingText:
    @given(st.data())
    def test_is_what_a_list_would_be(self, data: st.DataObject) -> None:
        """Every token is named by its place; what falls is cut from the list."""
        text, plain, written = StandingText(), list[int](), 0
        for _ in range(data.draw(st.integers(0, 6))):
            more = data.draw(st.integers(0, 5))
            plain += range(written, written + more)
            written += more
            count = data.draw(st.integers(0, len(plain)))
            text.cut(count, written, written)
            del plain[count:]
        more = data.draw(st.integers(0, 5))
        plain += range(written, written + more)
        written += more
        assert text.count(written) == len(plain)
        start, stop = sorted(data.draw(st.integers(0, len(plain))) for _ in range(2))
        places = [n for begin, end in text.pieces(start, stop) for n in range(begin, end)]
        assert places == plain[start:stop]
        whole = list(text.pieces(0, len(plain)))
        first, last = sorted(data.draw(st.integers(0, written)) for _ in range(2))
        found = [n for begin, end in numbers(whole, first, last) for n in range(begin, end)]
        assert found == [number for number, place in enumerate(plain) if first <= place < last]

    def test_what_is_being_written_may_not_stand(self) -> None:
        text = StandingText()
        text.cut(3, 5, None)
        assert text.count(9) == 3
        text.grows_from = 9
        assert text.count(11) == 5
        assert list(text.pieces(2, 5)) == [(2, 3), (9, 11)]


class TestSimulated:
    def test_a_reader_is_cut_off_and_begins_again(self) -> None:
        """It reads four tokens at 1 s and writes for a second; three of them stand at 1.5 s."""
        line = play(
            uniform(PIPELINE, constant(4, 4, 60)),
            shape([Update(1.0, 0, 4), Update(1.5, 3, 3)], z=80),
        )
        spans = [span for span in line.spans if span.agent == "z"]
        assert [span.read for span in spans] == [(4,), (4,), (6,)]
        assert spans[0].ended_ps == to_ps(1.5)
        assert spans[0].reason == "cancelled"
        assert spans[0].fallen_tokens == spans[0].output_tokens > 0
        assert line.retracted_tokens == spans[0].output_tokens
        assert spans[1].submitted_ps == to_ps(1.5)
        assert line.written == {"heard": 6, "z": 80}
        assert len(line.answer_ps) == 80
        assert min(line.answer_ps) > to_ps(1.5)

    def test_what_was_written_may_be_kept(self) -> None:
        schedule = replace(uniform(PIPELINE, constant(4, 4, 90)), revision="keep")
        line = play(schedule, shape([Update(1.0, 0, 4), Update(1.5, 3, 3)], z=60))
        spans = [span for span in line.spans if span.agent == "z"]
        assert line.retracted_tokens == 0
        assert spans[1].written == spans[0].output_tokens > 0
        assert len(line.answer_ps) == line.written["z"] == 60

    def test_whoever_read_what_fell_begins_again_too(self) -> None:
        """Notes end before the revision and are written anew; so is what was read of them."""
        schedule = Schedule({"notes": constant(4, 4, 90), "z": constant(2, 100, 5)})
        line = play(
            schedule, shape([Update(1.0, 0, 4), Update(3.0, 2, 6)], notes=10, z=30), WITH_NOTES
        )
        notes = [span for span in line.spans if span.agent == "notes"]
        assert notes[0].fallen_tokens == notes[0].output_tokens == 10
        assert sum(span.standing_tokens for span in notes) == 10
        answer = [span for span in line.spans if span.agent == "z"]
        # Two tokens of each source were read before, and those of the input stand.
        assert answer[0].read == (2, 2)
        assert answer[0].fallen_tokens == 5
        assert line.written == {"heard": 8, "notes": 10, "z": 30}

    def test_who_had_not_read_so_far_is_left_alone(self) -> None:
        line = play(
            uniform(PIPELINE, constant(2, 100, 5)),
            shape([Update(1.0, 0, 4), Update(3.0, 2, 6)], z=30),
        )
        assert line.retracted_tokens == 0
        assert [span.read for span in line.spans if span.agent == "z"] == [(2,), (8,)]

    def test_who_may_write_no_more_does_not_begin_again(self) -> None:
        agents = (HEARD, Agent("z", reads=("heard",), max_tokens=4))
        line = play(
            replace(uniform(PIPELINE, constant(4, 4, 4)), revision="keep"),
            shape([Update(1.0, 0, 4), Update(1.12, 2, 3)], z=20),
            Pipeline(agents, "z"),
        )
        spans = [span for span in line.spans if span.agent == "z"]
        assert [span.output_tokens for span in spans] in ([4], [2, 2], [1, 3], [3, 1])

    def test_an_update_may_only_take_back(self) -> None:
        line = play(Schedule(), shape([Update(1.0, 0, 9), Update(2.0, 4, 0)], z=10))
        span = next(span for span in line.spans if span.agent == "z")
        assert span.read == (4,)
        assert span.submitted_ps == to_ps(2.0)

    def test_counts_from_the_last_of_it(self) -> None:
        found = measure(play(Schedule(), shape([Update(1.0, 0, 4), Update(2.5, 1, 4)], z=10)))
        assert found.input_s == pytest.approx(2.5)

    @pytest.mark.parametrize(
        ("updates", "words"),
        [
            ([Update(1.0, 1, 4)], "update 1 keeps 1 tokens and adds 4; 0 are there"),
            ([Update(1.0, 0, 4), Update(2.0, 5, 1)], "update 2 keeps 5 tokens and adds 1; 4 are"),
            ([Update(1.0, 0, 4), Update(0.5, 4, 1)], "in order"),
            ([Update(-1.0, 0, 4)], "at 0 s or later"),
        ],
    )
    def test_what_cannot_be(self, updates: list[Update], words: str) -> None:
        with pytest.raises(WorkloadError, match=words):
            shape(updates, z=1)

    def test_an_input_may_be_too_long(self) -> None:
        request = shape([Update(1.0, 0, 900), Update(2.0, 0, 900)], z=1)
        with pytest.raises(WorkloadError, match="max_tokens of 1800 or more"):
            play(Schedule(), request)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_what_stands_was_written_on_what_stands(seed: int) -> None:
    """And every play ends."""
    case = update_case(seed)
    case = replace(case, schedule=replace(case.schedule, revision="rewrite"))
    for number in range(len(case.workload.requests)):
        check_alone(case, number)


def check_alone(case: RandomCase, number: int) -> None:
    calls, played = list[Call](), list[Play]()

    class Kept(Play):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            played.append(self)

    workload = Workload([case.workload.requests[number]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.des.simulate.Play", Kept)
        try:
            line = simulate(case.pipeline, case.schedule, case.setups, workload, calls.append)[0]
        except WorkloadError:
            return
    pieces = {agent.name: played[0].pieces(agent.name) for agent in case.pipeline}
    for call, span in zip(calls, line.spans, strict=True):
        # Others may have ended before what they read was revised, and nobody reads on.
        if span.standing_tokens and call.agent == case.pipeline.answer:
            read = [one for one in call.prompt.segments if one.source in pieces]
            assert all(stands(one, pieces[one.source]) for one in read)
    for agent in case.pipeline:
        assert tokens(pieces[agent.name]) == line.written[agent.name]
        own = [span for span in line.spans if span.agent == agent.name]
        if not agent.arrival:
            assert line.written[agent.name] == sum(span.standing_tokens for span in own)
    assert len(line.answer_ps) == line.written[case.pipeline.answer]
    assert list(line.answer_ps) == sorted(line.answer_ps)
    own = [span for span in line.spans if span.agent == case.pipeline.answer]
    assert line.retracted_tokens == sum(span.fallen_tokens for span in own)


def stands(segment: Segment, pieces: Pieces) -> bool:
    return tokens([*numbers(pieces, segment.start, segment.stop)]) == segment.tokens


def tokens(pieces: Pieces) -> int:
    return sum(stop - start for start, stop in pieces)


def test_what_is_written_in_all() -> None:
    assert written_tokens([Update(0, 0, 3), Update(1, 1, 4)]) == 7
