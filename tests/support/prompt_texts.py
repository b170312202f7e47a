"""Names of a prompt's texts."""

from __future__ import annotations

from collections.abc import Sequence

from staircase.prompt import header, label, nonce, own, query, turn


def fixed_names(agent: str, sources: Sequence[str]) -> list[str]:
    """Names of all texts in ``agent``'s prompt that do not grow."""
    labels = [label(agent, name) for name in sources]
    return [header(agent), nonce(agent), query(agent), own(agent), *labels, turn(agent)]
