"""A text whose keys and values are kept, so that a next one that begins alike is computed less."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import DynamicCache


@dataclass
class KeptText:
    """Token ids whose keys and values are in ``cache``."""

    cache: DynamicCache = field(default_factory=DynamicCache)
    ids: list[int] = field(default_factory=list)

    def keep(self, length: int) -> None:
        """Of the tokens only the first so many."""
        surplus = len(self.ids) - length
        if surplus > 0:
            # The negative form means the same in every transformers 5.x; the positive does not.
            self.cache.crop(-surplus)
            del self.ids[length:]
