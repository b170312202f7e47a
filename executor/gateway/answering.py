"""One request from admission to its end: a task of its own, which outlives a client that leaves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from executor.gateway.accounts import account_of, usage_of
from executor.gateway.admission import Admission
from executor.gateway.api.api_error import ApiError
from executor.gateway.api.ask import AnswerRequest
from executor.gateway.api.chunks import AnswerPiece
from executor.gateway.deadlines import limits_s
from executor.gateway.figures import AnswerTimes, GatewayMetrics
from executor.gateway.live_answer import EndedBy, LiveAnswer
from executor.gateway.presence import Presence
from executor.gateway.said_inputs import SaidInputs
from executor.gateway.served_plan import CHOSEN, SINGLE, Point, ServedPlan, single_point
from executor.gateway.spans import own_tracer, trace_request
from executor.runtime import Outcome

log = logging.getLogger("staircase.gateway")


@dataclass
class PlanService:
    """What serves one plan.

    Attributes:
        rate_per_s: tokens a second of the plan's reader.
        presence: of all plans that are served here.
        on_alone: hears what became of answers that were whole and alone.
        tracer: gets a span of every request.
    """

    plan: ServedPlan
    figures: GatewayMetrics
    admission: Admission
    rate_per_s: float
    presence: Presence = field(default_factory=Presence)
    on_alone: Callable[[Point, Outcome], None] = lambda point, outcome: None
    tracer: Tracer = field(default_factory=own_tracer)
    running: set[Answering] = field(default_factory=set)


class Answering:
    """One request.

    Attributes:
        key: who asks.
        said: the inputs that the client says meanwhile.
        point: that it is played under, once it is admitted.
        usage, account: when it is over.
    """

    def __init__(
        self,
        service: PlanService,
        point: Point | None,
        ask: AnswerRequest,
        key: str,
        parent: Context,
    ) -> None:
        self._parent = parent
        self._service = service
        self._asked_point = point
        self._ask = ask
        self.key = key
        self.said = SaidInputs(ask.live)
        self._loop = asyncio.get_running_loop()
        self._moments = AnswerTimes(self._loop.time())
        self._pieces: asyncio.Queue[AnswerPiece | ApiError] = asyncio.Queue()
        self._live: LiveAnswer | None = None
        self._left: EndedBy | None = None
        self.point: Point | None = None
        self.usage: Mapping[str, Any] = {}
        self.account: Mapping[str, Any] = {}
        service.running.add(self)
        self._task = asyncio.create_task(self._run())

    async def pieces(self) -> AsyncIterator[AnswerPiece]:
        """Until the one with ``finish``.

        Raises:
            ApiError: there is no answer, or only part of one.
        """
        while True:
            piece = await self._pieces.get()
            if isinstance(piece, ApiError):
                raise piece
            yield piece
            if piece.finish is not None:
                return

    def leave(self, why: EndedBy) -> None:
        """Nobody waits for more of it, or may."""
        self._left = self._left or why
        if self._live is not None:
            self._live.end(why)
        elif self.point is None:
            # It waits to be admitted.
            self._task.cancel()

    async def over(self) -> None:
        """Waits until nothing of it runs any more."""
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        ended, name = "failed", self._service.plan.name
        try:
            ended = await self._admit()
        except ApiError as error:
            ended = error.code
            self._pieces.put_nowait(error)
        except asyncio.CancelledError:
            ended = self._left or "client"
            self._pieces.put_nowait(ApiError(503, "shutting_down", "the server is shutting down"))
        except Exception as error:  # a gate is somebody's program
            # Its words may be those of a prompt.
            log.error("a request of %s failed: %s", name, type(error).__name__)
            log.debug("it failed so", exc_info=error)
            self._pieces.put_nowait(ApiError(500, "internal_error", "the gateway failed"))
        finally:
            self._service.running.discard(self)
        figures = self._service.figures
        if self.point is None:
            figures.refused.labels(ended).inc()
        else:
            figures.requests.labels(name, self.point.name, ended).inc()

    async def _admit(self) -> str:
        async with self._service.admission.admitted(self.key, self._left_s()) as pressure:
            self.point = await self._choose(pressure)
            plan = self._service.plan
            live = LiveAnswer(plan.runtime, self.point, self._ask, plan.shows_drafts, self.said)
            self._live = live
            if self._ask.live:
                # Its client waits for the stream to say something.
                self._pieces.put_nowait(AnswerPiece(is_token=False))
            if self._left is not None:
                live.end(self._left)
            with self._service.presence.entered() as is_alone:
                await live.begin(self._limits_s(self.point))
                return await self._play(live, self.point, is_alone)

    async def _play(self, live: LiveAnswer, point: Point, is_alone: Callable[[], bool]) -> str:
        finish = "failed"
        try:
            async for piece in live.pieces():
                if piece.fall is not None:
                    del self._moments.token_s[piece.fall.tokens :]
                if piece.is_token:
                    self._moments.token_s.append(self._loop.time())
                if piece.finish is not None:
                    finish = piece.finish
                    self._close(live, point)
                self._pieces.put_nowait(piece)
        finally:
            if live.outcome is None:
                # Whatever went wrong, its calls must not go on.
                live.end(self._left or "client")
            self._note(live, point, is_alone())
        return live.ended_by or finish

    def _close(self, live: LiveAnswer, point: Point) -> None:
        assert live.outcome is not None
        self.usage = usage_of(point.pipeline, live.outcome, live.tokens)
        self.account = {
            "schedule": point.name,
            **({"ended_by": live.ended_by} if live.ended_by else {}),
            **({"late": live.late} if live.late else {}),
            **account_of(point.pipeline, live.outcome),
        }

    def _note(self, live: LiveAnswer, point: Point, was_alone: bool) -> None:
        figures, name = self._service.figures, self._service.plan.name
        if live.outcome is None:
            return
        figures.note_outcome(name, live.outcome, live.late)
        now_ns = time.time_ns()
        trace_request(self._service.tracer, name, point, live.outcome, now_ns, self._parent)
        error = live.outcome.timeline.error
        if error is not None:
            # What a server says may hold parts of a prompt.
            log.warning("a request of %s failed", name)
            log.debug("it failed: %s", error)
        elif self._moments.token_s and live.ended_by in (None, "stop text"):
            self._moments.input_s = self.said.said_s
            figures.note_times(name, point, self._moments, self._service.rate_per_s)
            if was_alone and live.ended_by is None and not live.late:
                self._service.on_alone(point, live.outcome)

    async def _choose(self, pressure: float) -> Point:
        """Who asks for a point gets it; else the gate may choose one model, or the queue a rung."""
        if self._asked_point is not None:
            return self._asked_point
        plan = self._service.plan
        question = self._ask.conversation.question
        if plan.gate is not None and await asyncio.to_thread(plan.gate.is_for_one, question):
            self._service.figures.gated.labels(plan.name).inc()
            return plan.points.get(SINGLE) or single_point(plan.points[CHOSEN].pipeline)
        return plan.rung(pressure)

    def _deadline_s(self) -> float | None:
        own = self._ask.deadline_s
        return self._service.plan.limits.deadline_s if own is None else own

    def _left_s(self) -> float | None:
        """Until the deadline."""
        deadline_s = self._deadline_s()
        if deadline_s is None:
            return None
        return deadline_s - (self._loop.time() - self._moments.arrival_s)

    def _limits_s(self, point: Point) -> dict[str, float]:
        plan, left_s = self._service.plan, self._left_s()
        found = {} if left_s is None else limits_s(point.pipeline, left_s, plan.ends_s)
        most_s = plan.limits.inputs_s
        return found | {name: min(found.get(name, most_s), most_s) for name in self._ask.live}
