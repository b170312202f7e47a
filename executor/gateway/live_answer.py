"""An answer on its way: heard in the threads of engines, read piece by piece on the event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from executor.gateway.api.api_error import ApiError
from executor.gateway.api.ask import AnswerRequest
from executor.gateway.api.chunks import AnswerPiece, Finish
from executor.gateway.drafts import Drafts
from executor.gateway.served_plan import Point
from executor.gateway.stop_texts import StopTexts
from executor.runtime import Job, Outcome, RequestRun, Runtime
from executor.tokens.streaming_text import StreamingText
from staircase.pipeline import Pipeline

# Why an answer ended before its model ended it.
EndedBy = Literal["stop text", "deadline", "client", "shutdown"]


# What is heard: how many tokens of which ids an agent has written.
Heard = tuple[str, Sequence[int], int]


class LiveAnswer:
    """One request that is played under a point of a plan.

    Attributes:
        tokens: of the answer that were shown.
        ended_by: None if its model ended it.
        late: agents that were left at what they had written.
        outcome: when all of it is over.
    """

    def __init__(
        self, runtime: Runtime, point: Point, ask: AnswerRequest, shows_drafts: bool
    ) -> None:
        self._runtime = runtime
        self._pipeline = pipeline_for(point.pipeline, ask)
        self._answer = self._pipeline.answer
        agent = self._pipeline[self._answer]
        served = runtime.served[agent.engine]
        seed = secrets.randbits(62) if ask.seed is None else ask.seed
        question, wishes = ask.conversation.question, {self._answer: ask.wish(served)}
        self._job = Job(self._pipeline, point.schedule, question, seed, wishes)
        self._most = agent.max_tokens
        self._text = StreamingText(served.engine.decode)
        self._stops = StopTexts(ask.stop)
        self._drafts = Drafts(self._pipeline, runtime.served) if shows_drafts else None
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Heard | Outcome | Exception] = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []
        self._run: RequestRun | None = None
        self._wanted: EndedBy | None = None
        self.tokens = 0
        self.ended_by: EndedBy | None = None
        self.late: list[str] = []
        self.outcome: Outcome | None = None

    async def begin(self, limits_s: Mapping[str, float]) -> None:
        """Args: limits_s: by agent, seconds from now after which it writes no more."""
        put = self._events.put_nowait

        def hear(event: Heard | Outcome | Exception) -> None:
            self._loop.call_soon_threadsafe(put, event)

        def on_token(job: int, agent: str, ids: Sequence[int]) -> None:
            # The loop is woken for nothing else.
            if agent == self._answer or self._drafts is not None:
                hear((agent, ids, len(ids)))

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
                event = await self._events.get()
                if isinstance(event, Outcome):
                    self.outcome = event
                elif isinstance(event, Exception):
                    raise event
                elif (piece := self._read(*event)) is not None:
                    if held is not None:
                        yield held
                    held = self._held(piece)
                    if held is None:
                        yield piece
            yield self._last(self.outcome, held)
        finally:
            for timer in self._timers:
                timer.cancel()

    def _read(self, agent: str, ids: Sequence[int], count: int) -> AnswerPiece | None:
        if agent != self._answer:
            is_shown = self._drafts is not None and not self.tokens
            words = self._drafts.add(agent, ids[:count]) if self._drafts and is_shown else ""
            return AnswerPiece(reasoning=words, is_token=False) if words else None
        if self._stops.is_found:
            return None
        self.tokens += 1
        text = self._stops.add(self._text.update(ids[:count]))
        if self._stops.is_found:
            self.end("stop text")
        return AnswerPiece(text)

    def _held(self, piece: AnswerPiece) -> AnswerPiece | None:
        """``piece`` if it is the last, whose reason is known when all is over."""
        is_last = self._stops.is_found or self.tokens == self._most
        return piece if piece.is_token and is_last else None

    def _last(self, outcome: Outcome, held: AnswerPiece | None) -> AnswerPiece:
        """What is left, and why the answer ended."""
        if outcome.timeline.error is not None:
            raise failed(self._answer)
        if self.ended_by == "deadline" and not self.tokens:
            raise ApiError(504, "deadline_exceeded", "no token of the answer was there in time")
        if self.ended_by == "shutdown" and not self.tokens:
            raise ApiError(503, "shutting_down", "the server is shutting down")
        rest = self._stops.add(self._text.rest(list(outcome.ids[self._answer])))
        piece = held or AnswerPiece(is_token=False)
        text = piece.text + rest + self._stops.end()
        return replace(piece, text=text, finish=self._finish(outcome))

    def _finish(self, outcome: Outcome) -> Finish:
        if self._stops.is_found:
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
    for name in ask.conversation.question.inputs:
        if name not in {agent.name for agent in pipeline}:
            raise ApiError(400, "invalid_value", f"inputs: {name!r} is no agent", "inputs")
    agents = []
    for agent in pipeline:
        role = "\n\n".join(filter(None, (agent.role, ask.conversation.system)))
        limit = ask.max_tokens or most if agent.name == pipeline.answer else agent.max_tokens
        agents.append(replace(agent, role=role, max_tokens=limit))
    return replace(pipeline, agents=tuple(agents))
