"""The texts of one request as token ids: those that prompts are made of, and what agents write."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from itertools import takewhile

from executor.engine import EngineCall, Key, Thought, Tokens, Wish
from executor.prompts.as_read import as_read
from executor.prompts.input_text import InputText
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
        inputs: Mapping[str, InputText] | None = None,
    ) -> None:
        self.inputs = inputs or {}
        self._wishes = wishes or {}
        self._drawn_as = drawn_as
        self._owner = secrets.token_hex(8)
        self._engines = engines
        self.ids: dict[str, list[int]] = {agent: [] for agent in engines} | dict(fixed)

    def request(
        self, key: Key, call: Call, so_far: Sequence[int], thought: Thought | None = None
    ) -> EngineCall:
        """``call`` as its engine gets it; what it draws, if it draws, is of its agent's own.

        What it checks is no part of the prompt: the model writes it anew, which is guessed.
        An input has no prompt; its engine gets what is left to come.

        Args:
            so_far: the text that it goes on with.
        """
        wish = self._wishes.get(call.agent, Wish())
        read = as_read(self._engines, call.agent, call.prompt, self.ids)
        ids = [token for _, tokens in read for token in tokens]
        checked = ids[len(ids) - call.checked :]
        del ids[len(ids) - call.checked :]
        coming = self.inputs.get(call.agent)
        if coming:
            ids = list(coming.ids[call.written :])
        return EngineCall(
            key,
            ids,
            call.checked + call.max_tokens,
            ignore_end=wish.ignore_end,
            own_tokens=_own_tokens(call) - call.checked,
            text=f"{self._drawn_as}/{call.agent}",
            written=call.standing - call.checked,
            so_far=so_far[: call.standing - call.checked],
            owner=self._owner,
            header_tokens=call.prompt.header().tokens,
            thought=thought,
            sampling=wish.sampling,
            updates=coming.updates if coming else (),
            guess=checked,
        )

    def standing(self, agent: str, pieces: Sequence[tuple[int, int]]) -> list[int]:
        """What it has written at these places."""
        return [token for start, stop in pieces for token in self.ids[agent][start:stop]]


def _own_tokens(call: Call) -> int:
    """Tokens at the prompt's end that the agent itself wrote."""
    own = takewhile(lambda segment: segment.source == call.agent, reversed(call.prompt.segments))
    return sum(segment.tokens for segment in own)
