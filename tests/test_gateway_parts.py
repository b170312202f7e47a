"""The gateway's parts by themselves: admission, stop texts, deadlines, conversations, ladders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from executor.gateway.admission import Admission
from executor.gateway.api.api_error import ApiError
from executor.gateway.api.bodies import Message
from executor.gateway.api.conversation import conversation_of
from executor.gateway.deadlines import limits_s
from executor.gateway.figures import AnswerTimes
from executor.gateway.served_plan import CHOSEN, Point, ladder_of
from executor.gateway.shown_text import ShownText
from executor.gateway.stop_texts import StopTexts
from staircase import Schedule, chain, debate, moa, normal, single, uniform

LETTERS = st.text("ab", max_size=30)
STOPS = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


class TestStopTexts:
    @example("baa", ["a", "baa"], [])
    @given(LETTERS, STOPS, st.lists(st.integers(0, 4), max_size=12))
    def test_ends_before_the_first_wherever_the_text_is_cut(
        self, text: str, stops: list[str], sizes: list[int]
    ) -> None:
        """The first to be complete, as whoever writes it down letter by letter would see."""
        finder = StopTexts(stops)
        shown = "".join([*(finder.add(piece) for piece in cut(text, sizes)), finder.end()])
        expected, is_found = text, False
        for end in range(1, len(text) + 1):
            at = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
            if at:
                expected, is_found = text[: min(at)], True
                break
        assert finder.is_found == is_found
        assert shown == expected

    @given(LETTERS, STOPS)
    def test_shows_nothing_that_a_stop_text_may_begin_with(
        self, text: str, stops: list[str]
    ) -> None:
        finder = StopTexts(stops)
        shown = finder.add(text)
        if not finder.is_found:
            held = text[len(shown) :]
            assert not held or any(stop.startswith(held) for stop in stops)


def decoded(ids: Sequence[int]) -> str:
    """Bytes of UTF-8, so that a letter may be two tokens."""
    return bytes(ids).decode(errors="replace")


class TestShownText:
    @given(st.lists(st.text("abé", max_size=8), min_size=1, max_size=6), STOPS)
    def test_whoever_cuts_and_goes_on_has_what_stands(
        self, texts: list[str], stops: list[str]
    ) -> None:
        shown, read, moments = ShownText(decoded, stops), "", list[int]()
        for text in texts:
            ids = list(text.encode())
            for piece in shown.become(ids):
                if piece.fall is not None:
                    read = read[: piece.fall.characters]
                    del moments[piece.fall.tokens :]
                read += piece.text
                moments += [len(read)] * piece.is_token
            alone = StopTexts(stops)
            assert read == alone.add(text)
            assert shown.is_stopped == alone.is_found
            assert shown.tokens == len(moments)
            assert shown.is_stopped or shown.tokens == len(ids)
        alone = StopTexts(stops)
        whole = alone.add(texts[-1]) + alone.end()
        assert read + shown.rest(list(texts[-1].encode())) == whole


class TestAdmission:
    def test_keys_get_seats_in_turn(self) -> None:
        """Who asks for few, and later, is not kept waiting by who asks for many."""
        order: list[str] = []

        async def ask(admission: Admission, key: str) -> None:
            async with admission.admitted(key):
                order.append(key)
                await asyncio.sleep(0)

        async def play() -> None:
            admission = Admission(1, 100)
            await asyncio.gather(*(ask(admission, key) for key in ["many"] * 6 + ["few"] * 2))
            assert (admission.active, admission.waiting) == (0, 0)

        asyncio.run(play())
        assert order == ["many", "many", "few", "many", "few", "many", "many", "many"]

    @given(st.data())
    def test_no_seat_is_lost_or_given_twice(self, data: st.DataObject) -> None:
        concurrency, queue = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 4))
        asks = data.draw(
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 6)))
        )
        most, turned_away = 0, 0

        async def ask(admission: Admission, key: str, turns: int) -> None:
            nonlocal most, turned_away
            try:
                async with admission.admitted(key) as pressure:
                    most = max(most, admission.active)
                    assert 0 <= pressure <= 1
                    for _ in range(turns):
                        await asyncio.sleep(0)
            except ApiError:
                turned_away += 1

        async def play() -> None:
            admission = Admission(concurrency, queue)
            tasks = []
            for key, turns, cancelled_after in asks:
                tasks.append(asyncio.create_task(ask(admission, key, turns)))
                if cancelled_after < 3:
                    await asyncio.sleep(0)
                    tasks[cancelled_after % len(tasks)].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (admission.active, admission.waiting) == (0, 0)
            async with admission.admitted("last") as pressure:
                assert pressure == 0.0

        asyncio.run(play())
        assert most <= concurrency
        if len(asks) <= concurrency + queue:
            assert turned_away == 0


ENDS = {"a": 2.0, "b": 3.0, "z": 5.0}


class TestDeadlines:
    def test_what_is_left_over_is_for_whoever_is_late_first(self) -> None:
        found = limits_s(moa([["a", "b"]], "z"), 9.0, ENDS)
        assert found == {"a": 6.0, "b": 7.0, "z": 9.0}

    def test_a_short_one_is_split_by_the_forecast(self) -> None:
        found = limits_s(moa([["a", "b"]], "z"), 2.5, ENDS)
        assert found == {"a": 1.0, "b": 1.5, "z": 2.5}

    def test_without_a_forecast_stages_are_equal(self) -> None:
        found = limits_s(chain(["x", "y", "z"]), 3.0, {})
        assert found == {"x": 1.0, "y": 2.0, "z": 3.0}

    @given(st.floats(0.001, 1000), st.floats(0.001, 100))
    def test_readers_come_after_their_sources(self, deadline_s: float, end_s: float) -> None:
        pipeline = debate(["p", "q"], 2)
        ends = {agent.name: end_s * (1 + n) for n, agent in enumerate(pipeline.order)}
        found = limits_s(pipeline, deadline_s, ends)
        for agent in pipeline:
            for source in agent.reads:
                assert found[source] <= found[agent.name] <= deadline_s


def said(*messages: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=content) for role, content in messages]


class TestConversations:
    def test_turns_and_what_the_client_says_of_how_to_answer(self) -> None:
        found = conversation_of(
            said(
                ("system", "Be brief."),
                ("developer", "Be kind."),
                ("user", "one"),
                ("assistant", "two"),
                ("user", "three"),
                ("user", "four"),
            )
        )
        assert found.system == "Be brief.\n\nBe kind."
        assert found.question.earlier == (("one", "two"),)
        assert found.question.query == "three\n\nfour"

    def test_parts_of_text(self) -> None:
        message = Message.model_validate(
            {"role": "user", "content": [{"type": "text", "text": t} for t in ("on", "e")]}
        )
        assert conversation_of([message]).question.query == "one"

    @pytest.mark.parametrize(
        "messages",
        [
            [("system", "x")],
            [("assistant", "x"), ("user", "y")],
            [("user", "x"), ("assistant", "y")],
            [("user", "x"), ("system", "y"), ("user", "z")],
            [("wizard", "x")],
        ],
    )
    def test_what_is_no_conversation(self, messages: list[tuple[str, str]]) -> None:
        with pytest.raises(ApiError) as caught:
            conversation_of(said(*messages))
        assert caught.value.status == 400


class TestLadder:
    def test_cheaper_then_smaller_then_alone(self) -> None:
        pipeline = moa([["a", "b", "c"]], "z")
        first = Point(CHOSEN, pipeline, uniform(pipeline, normal()))
        rungs = ladder_of([first])
        assert [rung.name for rung in rungs] == ["chosen", "without c", "without b c", "single"]
        for rung in rungs:
            rung.schedule.check(rung.pipeline)
        assert [agent.name for agent in rungs[-1].pipeline] == ["z"]

    def test_of_layers_somebody_is_left_to_read(self) -> None:
        pipeline = moa([["a", "b"], ["c"]], "z")
        rungs = ladder_of([Point(CHOSEN, pipeline, uniform(pipeline, normal()))])
        assert [rung.name for rung in rungs] == ["chosen", "without b", "single"]

    def test_of_one_model(self) -> None:
        pipeline = single()
        assert len(ladder_of([Point(CHOSEN, pipeline, Schedule())])) == 1


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=20), st.floats(0.5, 100))
def test_who_begins_at_the_smooth_start_never_waits(gaps: list[float], rate: float) -> None:
    at, token_s = 10.0, []
    for gap in gaps:
        at += gap
        token_s.append(at)
    moments = AnswerTimes(10.0, token_s)
    start = moments.smooth_start_s(rate)
    late = [at - (10.0 + start + n / rate) for n, at in enumerate(token_s)]
    assert max(late) == pytest.approx(0, abs=1e-9)
    assert start >= moments.ttft_s - 1e-9
