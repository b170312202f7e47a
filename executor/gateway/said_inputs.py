"""The inputs that a client says while its request is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from executor.gateway.api.api_error import ApiError, refusal
from executor.gateway.api.bodies import InputBody
from executor.gateway.api.conversation import checked_text
from executor.input_engine import SaidInput

# Of one request: how often something is said, and words that this may be in all.
MOST_UPDATES = 4096
MOST_WORDS = 1 << 16


class SaidInputs:
    """Of one request, by name; used on one event loop.

    Attributes:
        on_change: called after something was said, or has ended, in whatever thread.
        said_s: when the last words came that differ from those before, on the clock of the loop.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.sources = {name: SaidInput(on_change=self._changed) for name in names}
        self._turn = asyncio.Lock()
        self._updates = 0
        self._texts: dict[str, str] = {}
        self.said_s: float | None = None

    def _changed(self) -> None:
        self.on_change()

    @property
    def are_over(self) -> bool:
        """Whether nothing that is said of any changes any more."""
        return all(one.is_over for one in self.sources.values())

    async def say(self, update: InputBody) -> None:
        """One after the other, in the order of their coming.

        Raises:
            ApiError: there is no such input, it is over, or too much was said.
        """
        if update.text is None and not update.is_last:
            raise refusal("text", "say what is there by now, or that nothing more comes: is_last")
        if update.input not in self.sources:
            known = ", ".join(self.sources)
            raise refusal("input", f"{update.input!r} is no live input; known: {known}")
        checked_text(update.text or "", "text")
        came_s = asyncio.get_running_loop().time()
        source = self.sources[update.input]
        async with self._turn:
            self._count()
            # Agents that begin because of it have long prompts, perhaps.
            if not await asyncio.to_thread(_say, source, update):
                words = f"input {update.input!r} is over: its last was said, or nobody reads it"
                raise ApiError(409, "input_over", words, "input")
            if update.text not in (None, self._texts.get(update.input)):
                self._texts[update.input] = update.text or ""
                self.said_s = came_s

    def _count(self) -> None:
        self._updates += 1
        brought = sum(one.brought for one in self.sources.values())
        if self._updates > MOST_UPDATES or brought > MOST_WORDS:
            words = f"more than {MOST_UPDATES} updates or {MOST_WORDS} words were said"
            raise ApiError(400, "too_much_said", words, "text")


def _say(source: SaidInput, update: InputBody) -> bool:
    if update.text is None:
        return source.end()
    return source.say(update.text, bool(update.is_last))
