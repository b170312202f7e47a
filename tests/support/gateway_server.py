"""A gateway behind a socket of this process, on scripted engines."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import openai

from executor.engine import Engine
from executor.gateway.app import Settings
from executor.gateway.gate import Gate
from executor.gateway.gateway import Gateway
from executor.gateway.keys import Keys
from executor.gateway.listening import GracefulServer, Listening, server_of
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
from executor.runtime import Runtime, ServedModel
from staircase import Pipeline, constant, moa, normal, uniform
from tests.support.backends import FORM
from tests.support.scripted_engine import ScriptedEngine

PLAN = "panel"
TOKENS = 24
PANEL = moa([["ann", "bo"]], "ed")


def panel(most: int = 512) -> Pipeline:
    """Two proposers and an editor, who may write ``most`` tokens each."""
    return replace(PANEL, agents=tuple(replace(agent, max_tokens=most) for agent in PANEL))


def scripted(**engines: Engine) -> dict[str, Engine]:
    """By agent: those given, and of the others one that writes ``TOKENS`` tokens."""
    return {agent.name: engines.get(agent.name) or ScriptedEngine(TOKENS) for agent in PANEL}


def plan_on(
    engines: Mapping[str, Engine],
    name: str = PLAN,
    most: int = 512,
    limits: ServingLimits | None = None,
    gate: Gate | None = None,
    shows_drafts: bool = False,
    settable: frozenset[str] = frozenset({"ignore_end"}),
    retries: int = 0,
) -> ServedPlan:
    pipeline = panel(most)
    own = {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
    served = {n: ServedModel(e, FORM, own=own, settable=settable) for n, e in engines.items()}
    points = [
        Point(CHOSEN, pipeline, uniform(pipeline, constant(4, 6, 5)), {"ttft_s": 0.01}),
        Point(NORMAL, pipeline, uniform(pipeline, normal())),
        single_point(pipeline),
    ]
    assert points[-1].name == SINGLE
    return ServedPlan(
        name,
        Runtime(served, retries=retries),
        {point.name: point for point in points},
        ladder_of(points[:1]),
        limits or ServingLimits(),
        gate=gate,
        shows_drafts=shows_drafts,
    )


@dataclass(frozen=True)
class Running:
    """A gateway that listens."""

    gateway: Gateway
    server: GracefulServer
    base: str

    @property
    def url(self) -> str:
        return f"{self.base}/v1"

    def client(self, key: str = "none", timeout_s: float = 20.0) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=timeout_s)


@contextmanager
def running(
    *plans: ServedPlan,
    keys: Keys | None = None,
    settings: Settings | None = None,
    grace_s: float = 5.0,
) -> Iterator[Running]:
    with listening_to(Gateway(plans, keys), settings, grace_s) as found:
        yield found


@contextmanager
def listening_to(
    gateway: Gateway, settings: Settings | None = None, grace_s: float = 5.0
) -> Iterator[Running]:
    """In the end nothing may be left of any request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listening = Listening(port=port, grace_s=grace_s, settings=settings or Settings())
    server = server_of(gateway, listening)
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="gateway")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield Running(gateway, server, listening.url.removesuffix("/v1"))
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
    assert gateway.running == []
