"""Server-sent events: from bytes, however the network cut them, to the data of each event.

Source: the WHATWG HTML standard, "Interpreting an event stream". Event names, ids and retry times
are read over: OpenAI's streams say everything in ``data``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from executor.server_faults import ServerError

_LINE_END = re.compile(rb"\r\n|\r|\n")
# No event of a sane server is near this; a stream without line ends must not fill the memory.
MOST_LINE_BYTES = 4 * 2**20


class EventParser:
    """Takes a stream piece by piece; an event that the stream's end leaves unfinished is no event.

    Raises:
        ServerError: a line is longer than ``MOST_LINE_BYTES``.
    """

    def __init__(self) -> None:
        self._line = b""
        self._data: list[str] = []
        self._is_first = True
        self._was_return = False

    def feed(self, piece: bytes) -> list[str]:
        """Data of the events that ``piece`` completes."""
        return [event for line in self._lines(piece) for event in self._take(line)]

    def _lines(self, piece: bytes) -> list[str]:
        if not piece:
            return []
        # A line feed that begins a piece may belong to the return that ended the one before.
        rest = piece[1:] if self._was_return and piece.startswith(b"\n") else piece
        self._was_return = piece.endswith(b"\r")
        *lines, self._line = _LINE_END.split(self._line + rest)
        if len(self._line) > MOST_LINE_BYTES:
            raise ServerError(f"not an event stream: a line of over {MOST_LINE_BYTES} bytes")
        return [line.decode("utf-8", "replace") for line in lines]

    def _take(self, line: str) -> Iterator[str]:
        if self._is_first:
            line, self._is_first = line.removeprefix("\ufeff"), False
        if not line:
            data, self._data = "\n".join(self._data), []
            if data:
                yield data
            return
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
