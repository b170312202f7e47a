"""All plans of one server, and what may ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context

from executor.gateway.admission import Admission
from executor.gateway.answering import Answering, PlanService
from executor.gateway.api.api_error import ApiError
from executor.gateway.api.ask import AnswerRequest
from executor.gateway.api.bodies import InputBody
from executor.gateway.asked_inputs import check_inputs
from executor.gateway.figures import GatewayMetrics
from executor.gateway.keys import Keys
from executor.gateway.live_answer import pipeline_for
from executor.gateway.presence import Presence
from executor.gateway.served_plan import BETWEEN, Point, ServedPlan
from staircase.errors import InputError

OWNER = "staircase"


class Gateway:
    """Answers requests; used on one event loop.

    Attributes:
        is_draining: no new requests are taken.
    """

    def __init__(
        self,
        plans: Sequence[ServedPlan],
        keys: Keys | None = None,
        rates_per_s: Mapping[str, float] | None = None,
    ) -> None:
        """``rates_per_s``: of the plans' readers, by the plan's name."""
        names = [plan.name for plan in plans]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two plans are named {name!r}; give one of them another name")
        self.figures = GatewayMetrics()
        self.keys = keys or Keys()
        self.is_draining = False
        presence = Presence()
        self._spoken: dict[str, Answering] = {}
        self._services = {
            plan.name: PlanService(
                plan,
                self.figures,
                Admission(plan.limits.concurrency, plan.limits.queue),
                (rates_per_s or {}).get(plan.name, 1.0),
                presence,
            )
            for plan in plans
        }

    @property
    def running(self) -> list[Answering]:
        return [one for service in self._services.values() for one in service.running]

    def service(self, name: str) -> PlanService:
        """Of the plan with this name."""
        return self._services[name]

    def ask(self, ask: AnswerRequest, key: str, parent: Context | None = None) -> Answering:
        """Begins to answer; ``key`` is who asks, in the span ``parent``.

        Raises:
            ApiError: it cannot be done here.
        """
        if self.is_draining:
            raise ApiError(503, "shutting_down", "the server is shutting down")
        service, point = self._find(ask.model)
        # What cannot be honoured is refused before anything waits.
        check_inputs(service.plan.pipeline, ask)
        pipeline_for(service.plan.pipeline, ask)
        ask.wish(service.plan.answering_model)
        ask.check_seed(service.plan.runtime.served, service.plan.answering.engine)
        return Answering(service, point, ask, key, parent or Context())

    @contextmanager
    def spoken(self, number: str, answering: Answering) -> Iterator[None]:
        """While its client may say inputs of it, if it has live ones, to ``number``."""
        if not answering.said.sources:
            yield
            return
        self._spoken[number] = answering
        try:
            yield
        finally:
            del self._spoken[number]

    async def say(self, number: str, key: str, update: InputBody) -> None:
        """What there is now of an input.

        Raises:
            ApiError: nobody listens to that, or ``key`` may not say it.
        """
        answering = self._spoken.get(number)
        if answering is None:
            words = f"no answer {number!r} is on its way here that has live inputs"
            raise ApiError(404, "answer_not_found", words)
        if answering.key != key:
            raise ApiError(401, "invalid_api_key", "another key asked for that answer")
        await answering.said.say(update)

    def _find(self, model: str) -> tuple[PlanService, Point | None]:
        name, at, point = model.rpartition(BETWEEN)
        service = self._services.get(name if at else model)
        if service is None or (at and point not in service.plan.points):
            known = ", ".join(one for o in self._services.values() for one in o.plan.models)
            raise ApiError(404, "model_not_found", f"no model {model!r}; known: {known}", "model")
        return service, service.plan.points[point] if at else None

    def model(self, name: str) -> dict[str, Any]:
        """One of ``models``.

        Raises:
            ApiError: there is none of this name.
        """
        self._find(name)
        return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}

    def models(self) -> Iterator[dict[str, Any]]:
        """As /v1/models lists them."""
        for service in self._services.values():
            yield from map(self.model, service.plan.models)

    def metrics(self) -> bytes:
        """In Prometheus's format."""
        for name, service in self._services.items():
            self.figures.active.labels(name).set(service.admission.active)
            self.figures.waiting.labels(name).set(service.admission.waiting)
        return self.figures.text()

    async def stop(self, patience_s: float) -> None:
        """What is being answered ends where it is; waits that long until nothing runs any more."""
        self.is_draining = True
        left = self.running
        for one in left:
            one.leave("shutdown")
        if left:
            await asyncio.wait(
                {asyncio.ensure_future(one.over()) for one in left}, timeout=patience_s
            )
