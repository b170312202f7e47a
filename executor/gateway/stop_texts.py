"""Ends an answer before the first of some texts to be complete, wherever tokens are cut."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Text as it comes, without what may be the beginning of a stop text.

    Attributes:
        is_found: a stop text came; nothing is shown any more.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.is_found = False

    def add(self, text: str) -> str:
        """What can be shown now."""
        if self.is_found:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_found = True
            # The first to be complete, however the text is cut.
            return self._held[: min(found)[1]]
        shown = self._held[: len(self._held) - self._begun()]
        self._held = self._held[len(shown) :]
        return shown

    def end(self) -> str:
        """What looked like the beginning of a stop text was none."""
        rest, self._held = self._held, ""
        return "" if self.is_found else rest

    def _begun(self) -> int:
        """Characters at the end that a stop text begins with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0
