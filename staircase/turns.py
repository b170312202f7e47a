"""How the users of a device take turns, simulated or real: round robin."""

from __future__ import annotations

from collections.abc import Sequence


def next_in_turn(have_work: Sequence[bool], last: int) -> int | None:
    """Number of the next user with work, counted on from the ``last`` that had a turn.

    Before anybody had one, the first user counts as the last. None: nobody has work.
    """
    count = len(have_work)
    order = ((last + offset) % count for offset in range(1, count + 1))
    return next((number for number in order if have_work[number]), None)
