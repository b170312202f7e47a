"""The gateway on engines behind servers: what they are asked, and what when one is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from executor.openai.engine import OpenAIEngine
from executor.openai.server import Address, Network
from executor.openai.server_profile import ServerProfile
from executor.openai.vocabularies import TextPieces
from tests.support.backends import server_settings
from tests.support.fake_server import FakeServer, Manners
from tests.support.gateway_server import PLAN, TOKENS, Running, plan_on, running, scripted

WHOLE = "".join(map(chr, range(1, TOKENS + 1)))
FIELDS = frozenset({"stream_options", "top_p", "top_k", "seed", "ignore_eos"})


@contextmanager
def engine_on(fake: FakeServer, fields: frozenset[str] = FIELDS) -> Iterator[OpenAIEngine]:
    with Network() as network:
        server = network.server(Address(fake.url, None, 10.0, 10.0))
        profile = ServerProfile("completions", fields, takes_ids=False)
        yield OpenAIEngine(
            network, server, profile, server_settings("m", tries=1), TextPieces("m", list)
        )


def post(server: Running, **body: Any) -> httpx.Response:
    asked = {"model": PLAN, "messages": [{"role": "user", "content": "why"}]} | body
    return httpx.post(f"{server.url}/chat/completions", json=asked, timeout=20)


def test_the_answer_is_drawn_as_the_request_says() -> None:
    with FakeServer(Manners(fields=FIELDS, length=6)) as fake, engine_on(fake) as engine:
        assert engine.settable == {"temperature", "top_p", "top_k", "seed", "ignore_end"}
        plan = plan_on(scripted(ed=engine), settable=engine.settable)
        with running(plan) as server:
            drawn = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "ignore_eos": True}
            seeds = []
            for seed in (5, 5, 6):
                answer = post(server, model=f"{PLAN}@single", seed=seed, max_tokens=4, **drawn)
                assert answer.status_code == 200, answer.text
                body = fake.bodies[-1]
                assert {name: body[name] for name in drawn} == drawn
                assert body["max_tokens"] == 4
                seeds.append(body["seed"])
            assert seeds[0] == seeds[1] != seeds[2]
            post(server, model=f"{PLAN}@single")
            assert fake.bodies[-1]["temperature"] == 0.0
            assert fake.bodies[-1].keys().isdisjoint({"top_p", "top_k", "seed", "ignore_eos"})


def test_what_its_server_does_not_take_is_refused() -> None:
    with FakeServer(Manners(length=6)) as fake, engine_on(fake, frozenset()) as engine:
        plan = plan_on(scripted(ed=engine), settable=engine.settable)
        with running(plan) as server:
            for field, value in {"top_p": 0.5, "seed": 5, "ignore_eos": True}.items():
                answer = post(server, temperature=0.7, **{field: value})
                assert answer.status_code == 400
                assert answer.json()["error"]["param"] == field
            assert post(server, seed=5, max_tokens=3).status_code == 200


def test_a_proposers_server_that_is_gone() -> None:
    """It was there when the gateway began; its address is told to nobody."""
    with ExitStack() as stack:
        fake = FakeServer(Manners(length=6))
        with fake:
            engine = stack.enter_context(engine_on(fake))
            server = stack.enter_context(running(plan_on(scripted(ann=engine))))
            assert "missing" not in post(server).json()["staircase"]
        answer = post(server)
    assert answer.json()["choices"][0]["message"]["content"] == WHOLE
    assert answer.json()["staircase"]["missing"] == {"ann": "failed"}
    assert "127.0.0.1" not in answer.text
