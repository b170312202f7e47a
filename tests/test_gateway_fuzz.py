"""Bodies of every kind: what is wrong is told, nothing breaks, nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.gateway.api.bodies import EFFECTLESS, Body, ChatBody, CompletionBody
from tests.support.gateway_server import PLAN, Running, plan_on, running, scripted
from tests.support.scripted_engine import ScriptedEngine

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = sorted({*ChatBody.model_fields, *CompletionBody.model_fields, *EFFECTLESS})
SMALL: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 5),
    "stop": TEXT | st.lists(TEXT, max_size=3),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    "temperature": st.sampled_from([0, 0.5]),
    "seed": st.integers(-5, 5),
    "deadline_s": st.floats(0.001, 5),
}
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", ""]), "content": TEXT | JSON}
)
BODIES = st.builds(
    lambda right, wrong, asked: {"model": PLAN, "max_tokens": 3} | asked | right | wrong,
    st.fixed_dictionaries({}, optional=SMALL),
    st.dictionaries(st.sampled_from([*FIELDS, "unknown"]), JSON, max_size=2),
    st.fixed_dictionaries({}, optional={"messages": st.lists(MESSAGE, max_size=4), "prompt": TEXT}),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    quick = {name: ScriptedEngine(6, 0.0, 0.0) for name in ("ann", "bo", "ed")}
    with running(plan_on(scripted(**quick), limits=None)) as found:
        yield found


def ask(client: httpx.Client, server: Running, path: str, body: Any) -> None:
    answer = client.post(f"{server.url}/{path}", json=body)
    if answer.status_code == 200:
        return
    # A deadline may pass; nothing else is anybody's fault but the client's.
    assert answer.status_code < 500 or answer.json()["error"]["code"] == "deadline_exceeded"
    error = answer.json()["error"]
    assert error["message"]
    assert error["type"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_some_bodies(server: Running, path: str) -> None:
    with httpx.Client(timeout=20) as client:
        fuzz(client, server, path, 150)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_many_bodies(server: Running, path: str) -> None:
    with httpx.Client(timeout=20) as client:
        fuzz(client, server, path, 2500)


def fuzz(client: httpx.Client, server: Running, path: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(BODIES)
    def asked(body: Any) -> None:
        ask(client, server, path, body)

    asked()


def test_the_published_schema_names_every_field(server: Running) -> None:
    schema = httpx.get(f"{server.base}/openapi.json").json()
    for name, model in (("ChatBody", ChatBody), ("CompletionBody", CompletionBody)):
        assert issubclass(model, Body)
        assert schema["components"]["schemas"][name]["properties"].keys() == {*model.model_fields}
    for path in ("/v1/chat/completions", "/v1/completions"):
        assert {"200", "400", "429", "504"} <= schema["paths"][path]["post"]["responses"].keys()
