"""The texts of one request as token ids: those that prompts are made of, and what agents write."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from executor.engine import EngineCall, Key, Thought, Tokens, Wish
from executor.prompts.as_read import as_read
from staircase.messages import Call


class Texts:
    """Grows as agents write.

    Args:
        engines: by agent.
        fixed: the texts that do not grow, each in the ids of the engine that reads it.
        drawn_as: requests with the same number draw the same texts from the same prompts.
        wishes: how agents' texts are written, by name, of those of which something is wished.
        inputs: what comes as inputs, by name.

    No two of them, of whatever run, find more than a header of each other in an engine's cache.
    """

    def __init__(
        self,
        engines: Mapping[str, Tokens],
        fixed: Mapping[str, list[int]],
        drawn_as: int,
        wishes: Mapping[str, Wish] | None = None,
        inputs: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self._inputs = inputs or {}
        self._wishes = wishes or {}
        self._drawn_as = drawn_as
        self._owner = secrets.token_hex(8)
        self._engines = engines
        self.ids: dict[str, list[int]] = {agent: [] for agent in engines} | dict(fixed)

    def request(self, key: Key, call: Call, thought: Thought | None = None) -> EngineCall:
        """``call`` as its engine gets it; what it draws, if it draws, is of its agent's own.

        An input has no prompt; its engine gets what is left to come.
        """
        wish = self._wishes.get(call.agent, Wish())
        read = as_read(self._engines, call.agent, call.prompt, self.ids)
        ids = [token for _, tokens in read for token in tokens]
        if call.agent in self._inputs:
            ids = list(self._inputs[call.agent][call.written :])
        return EngineCall(
            key,
            ids,
            call.max_tokens,
            ignore_end=wish.ignore_end,
            own_tokens=_own_tokens(call),
            text=f"{self._drawn_as}/{call.agent}",
            written=call.written,
            so_far=self.ids[call.agent][: call.written],
            owner=self._owner,
            header_tokens=call.prompt.header().tokens,
            thought=thought,
            sampling=wish.sampling,
        )

    def written(self) -> dict[str, str]:
        """By agent."""
        return {agent: self.text(agent) for agent in self._engines}

    def text(self, agent: str) -> str:
        """What it has written by now."""
        return self._engines[agent].decode(self.ids[agent])


def _own_tokens(call: Call) -> int:
    """Tokens at the prompt's end that the agent itself wrote."""
    last = call.prompt.segments[-1:]
    return sum(segment.tokens for segment in last if segment.source == call.agent)
