"""An answer on its way: heard in the threads of engines, read piece by piece on the event loop.

Where inputs are said meanwhile, what was written may fall until they have ended. A client that
asked for corrections is shown the text as it stands; any other none of it until it stands for good.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from executor.gateway.api.api_error import ApiError
from executor.gateway.api.ask import AnswerRequest
from executor.gateway.api.chunks import AnswerPiece, Finish
from executor.gateway.asked_inputs import question_of
from executor.gateway.drafts import Drafts
from executor.gateway.said_inputs import SaidInputs
from executor.gateway.served_plan import Point
from executor.gateway.shown_text import ShownText
from executor.input_engine import NO_PROMPT
from executor.runtime import Job, Outcome, RequestRun, Runtime, ServedModel
from staircase.pipeline import Pipeline

# Why an answer ended before its model ended it.
EndedBy = Literal["stop text", "deadline", "client", "shutdown"]


# What is heard: how many tokens of which ids an agent has written. Where text may fall it only says
# that there is something to look at.
Heard = tuple[str, Sequence[int], int]


class LiveAnswer:
    """One request that is played under a point of a plan.

    Args:
        said: the inputs that are said while it is played.

    Attributes:
        ended_by: None if its model ended it.
        late: agents that were left at what they had written.
        outcome: when all of it is over.
    """

    def __init__(
        self,
        runtime: Runtime,
        point: Point,
        ask: AnswerRequest,
        shows_drafts: bool,
        said: SaidInputs | None = None,
    ) -> None:
        self._said = said or SaidInputs(())
        own = {n: ServedModel(one, NO_PROMPT) for n, one in self._said.sources.items()}
        self._runtime = runtime.serving({**runtime.served, **own}) if own else runtime
        self._pipeline = pipeline_for(point.pipeline, ask)
        self._answer = self._pipeline.answer
        agent = self._pipeline[self._answer]
        served = runtime.served[agent.engine]
        seed = secrets.randbits(62) if ask.seed is None else ask.seed
        question, wishes = question_of(self._pipeline, ask), {self._answer: ask.wish(served)}
        # Who cannot be told what falls is shown what is settled.
        schedule = point.schedule if ask.corrects else replace(point.schedule, show="settled")
        self._shows_all = schedule.checks and schedule.show == "at_once"
        self._may_fall = schedule.checks or bool(self._said.sources)
        self._job = Job(self._pipeline, schedule, question, seed, wishes)
        self._most = agent.max_tokens
        self._corrects = ask.corrects
        self._shown = ShownText(served.engine.decode, ask.stop)
        self._drafts = Drafts(self._pipeline, runtime.served) if shows_drafts else None
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Heard | Outcome | Exception] = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []
        self._run: RequestRun | None = None
        self._wanted: EndedBy | None = None
        self.ended_by: EndedBy | None = None
        self.late: list[str] = []
        self.outcome: Outcome | None = None

    @property
    def tokens(self) -> int:
        """Of the answer that were shown."""
        return self._shown.tokens

    async def begin(self, limits_s: Mapping[str, float]) -> None:
        """Args: limits_s: by agent, seconds from now after which it writes no more."""
        put = self._events.put_nowait

        def hear(event: Heard | Outcome | Exception) -> None:
            self._loop.call_soon_threadsafe(put, event)

        def on_token(job: int, agent: str, ids: Sequence[int]) -> None:
            # The loop is woken for nothing else.
            if agent == self._answer or self._drafts is not None:
                hear((agent, ids, len(ids)))

        self._said.on_change = lambda: hear((self._answer, (), 0))
        # Long prompts take long to encode.
        self._run = await asyncio.to_thread(self._runtime.start, self._job, on_token, hear, hear)
        if self._wanted is not None:
            self.end(self._wanted)
        for agent, seconds in limits_s.items():
            self._timers.append(self._loop.call_later(max(0.0, seconds), self._be_late, agent))

    def end(self, why: EndedBy) -> None:
        """What is written is the answer; nothing happens if it is over."""
        if self._run is None:
            self._wanted = why
        elif self.ended_by is None and self._run.leave(self._answer):
            self.ended_by = why

    def _be_late(self, agent: str) -> None:
        if agent == self._answer:
            self.end("deadline")
        elif self._run is not None and self._run.leave(agent):
            self.late.append(agent)

    async def pieces(self) -> AsyncIterator[AnswerPiece]:
        """Until the answer is over, with ``finish`` in the last one.

        Raises:
            ApiError: there is no answer, or only part of one.
        """
        try:
            held: AnswerPiece | None = None
            while self.outcome is None:
                for piece in self._read(await self._events.get()):
                    if held is not None:
                        yield held
                    held = self._held(piece)
                    if held is None:
                        yield piece
            yield self._last(self.outcome, held)
        finally:
            for timer in self._timers:
                timer.cancel()

    def _read(self, event: Heard | Outcome | Exception) -> Iterator[AnswerPiece]:
        if isinstance(event, Exception):
            raise event
        if isinstance(event, Outcome):
            self.outcome = event
            if self._may_fall:
                yield from self._shown.become(event.ids[self._answer])
        elif event[0] != self._answer:
            yield from self._draft(*event)
        else:
            yield from self._written(*event[1:])

    def _draft(self, agent: str, ids: Sequence[int], count: int) -> Iterator[AnswerPiece]:
        words = "" if self._drafts is None or self.tokens else self._drafts.add(agent, ids[:count])
        if words:
            yield AnswerPiece(reasoning=words, is_token=False)

    def _written(self, ids: Sequence[int], count: int) -> Iterator[AnswerPiece]:
        # In this order: what stands when all inputs are over stands for good.
        is_settled = self._said.are_over and not self._shows_all
        if not self._may_fall:
            if not self._shown.is_stopped:
                yield AnswerPiece(self._shown.add(ids[:count]))
        elif (is_settled or self._corrects) and self._run is not None:
            yield from self._shown.become(self._run.ids_of(self._answer))
        if is_settled and self._shown.is_stopped:
            self.end("stop text")

    def _held(self, piece: AnswerPiece) -> AnswerPiece | None:
        """``piece`` if it is the last, whose reason is known when all is over."""
        is_last = self._shown.is_stopped or self.tokens == self._most
        return piece if piece.is_token and is_last else None

    def _last(self, outcome: Outcome, held: AnswerPiece | None) -> AnswerPiece:
        """What is left, and why the answer ended."""
        if outcome.timeline.error is not None:
            raise failed(self._answer)
        if self.ended_by == "deadline" and not self.tokens:
            raise ApiError(504, "deadline_exceeded", "no token of the answer was there in time")
        if self.ended_by == "shutdown" and not self.tokens:
            raise ApiError(503, "shutting_down", "the server is shutting down")
        rest = self._shown.rest(list(outcome.ids[self._answer]))
        piece = held or AnswerPiece(is_token=False)
        return replace(piece, text=piece.text + rest, finish=self._finish(outcome))

    def _finish(self, outcome: Outcome) -> Finish:
        if self._shown.is_stopped:
            return "stop"
        spans = [span for span in outcome.timeline.spans if span.agent == self._answer]
        is_cut = self.ended_by is not None or not spans or spans[-1].reason != "stop"
        return "length" if is_cut else "stop"


def failed(agent: str) -> ApiError:
    return ApiError(502, "engine_failed", f"the engine of agent {agent!r} failed")


def pipeline_for(pipeline: Pipeline, ask: AnswerRequest) -> Pipeline:
    """With the client's system text after each role, and its limit of the answer.

    Raises:
        ApiError: it asks for more tokens than the plan's answer may have.
    """
    most = pipeline[pipeline.answer].max_tokens
    if ask.max_tokens is not None and ask.max_tokens > most:
        raise ApiError(
            400,
            "max_tokens_too_large",
            f"max_tokens: {ask.max_tokens} is more than the {most} that this plan's answers have",
            "max_tokens",
        )
    agents = []
    for agent in pipeline:
        if not agent.has_engine:
            agents.append(agent)
            continue
        role = "\n\n".join(filter(None, (agent.role, ask.conversation.system)))
        limit = ask.max_tokens or most if agent.name == pipeline.answer else agent.max_tokens
        agents.append(replace(agent, role=role, max_tokens=limit))
    return replace(pipeline, agents=tuple(agents))
