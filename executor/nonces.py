"""Short texts by which a server's prefix cache tells measured requests apart."""

from __future__ import annotations

import secrets
import string

LETTERS = 5


class Nonces:
    """Texts such as ``q f z k t``, no two alike, each of as many tokens as the others.

    They begin at a random one, so those of two runs differ. Of 26 that follow each other no two
    begin with the same letter, so that their requests share no token of them.
    """

    def __init__(self) -> None:
        self._next = secrets.randbelow(len(string.ascii_lowercase) ** LETTERS)

    def draw(self) -> str:
        number, letters = self._next, []
        self._next += 1
        for _ in range(LETTERS):
            number, letter = divmod(number, len(string.ascii_lowercase))
            letters.append(string.ascii_lowercase[letter])
        return f"{' '.join(letters)}\n"
