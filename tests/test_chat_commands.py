"""Chat servers, as they are found, through ``engines``, ``profile``, ``plan`` and ``validate``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from planner.profiling.profile_warnings import RESTATES
from profiles.latency.profile import load_latency
from tests.support.chat_scenario import chat_scenario
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Manners
from tests.support.real_servers import SERVERS, RealServers
from tests.test_odd_servers import delta

CHATS = frozenset({"chat/completions"})
THOUGHT, ANSWER = 3, 20
THINKING = (
    *(delta(reasoning_content=f"hm {number} ") for number in range(THOUGHT)),
    *(delta(content=f"word {number} ") for number in range(ANSWER)),
    delta("stop"),
)


@dataclass(frozen=True)
class Chat:
    """A server, and what the commands are to find out.

    Attributes:
        manners: of a scripted one; None: llama-server.
        restates: it cannot continue an answer.
        thinking_tokens: that each agent thinks in a call that begins its text.
    """

    manners: Manners | None
    restates: bool = False
    thinking_tokens: int = 0


SERVED = {
    "begins anew": Chat(Manners(paths=CHATS, assistant="begins anew", drops_space=True), True),
    "continues": Chat(Manners(paths=CHATS)),
    "thinks": Chat(Manners(paths=CHATS, script=THINKING), True, THOUGHT),
    "llama-server": Chat(None),
}


@contextmanager
def served(one: Chat, servers: RealServers, model: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its address, and the keys of an engine behind it."""
    if one.manners is None:
        keys = {"model": str(model), "api": "chat", "timeout_s": 60}
        yield servers.url(SERVERS["llama-server"], model), keys
        return
    with FakeServer(one.manners) as fake:
        yield fake.url, {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_engines_profile_plan_and_validate(
    name: str, tmp_path: Path, real_servers: RealServers, letter_model: Path
) -> None:
    chat, out = SERVED[name], ["--out", str(tmp_path / "out")]
    with served(chat, real_servers, letter_model) as (url, keys):
        path = str(chat_scenario(tmp_path, url, **keys))
        engines, profile, plan, validate = (
            staircase(command, path, *more)
            for command, more in (
                ("engines", ["--json"]),
                ("profile", out),
                ("plan", out),
                ("validate", [*out, "--requests", "2", "--json"]),
            )
        )
    for done in (engines, profile, plan, validate):
        assert done.returncode == 0, done.stderr
    for said in json.loads(engines.stdout):
        assert (said["api"], said["continues"]) == ("chat", not chat.restates)
    assert "quality cannot be measured: the server of z does not tell" in profile.stderr
    measured = load_latency(tmp_path / "out" / "latency.json").engines
    assert {one.restates for one in measured.values()} == {chat.restates}
    for done in (profile, plan):
        assert (RESTATES in " ".join((done.stdout + done.stderr).split())) == chat.restates
    for row in json.loads(validate.stdout)["rows"]:
        found = row["measured"]
        assert found["ttft_s"]["mean"] > 0
        assert (found["thinking_tokens"]["mean"] > 0) == bool(chat.thinking_tokens)
        assert (found["first_output_s"]["mean"] < found["ttft_s"]["mean"]) == bool(
            chat.thinking_tokens
        )
