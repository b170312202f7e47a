"""Server-sent events: from bytes, however the network cut them, to the data of each event.

Source: the WHATWG HTML standard, "Interpreting an event stream". Ids and retry times are ignored.
Lines that do not belong to an event stream are kept: a server that breaks off says why in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from executor.openai.server_faults import ServerError

_LINE_END = re.compile(rb"\r\n|\r|\n")
# No event of a sane server is near this; a stream without line ends must not fill the memory.
MOST_LINE_BYTES = 4 * 2**20
# As much of other lines as is kept.
MOST_STRAY = 2**16
# Names of an event stream's lines; the one without a name is a comment.
FIELDS = ("", "data", "event", "id", "retry")
ERROR = "error"


@dataclass(frozen=True)
class Event:
    """``name`` is empty for most events, and ``error`` also where a line has that name."""

    data: str
    name: str = ""


class EventParser:
    """Takes a stream piece by piece; an event that the stream's end leaves unfinished is no event.

    Raises:
        ServerError: a line is longer than ``MOST_LINE_BYTES``.
    """

    def __init__(self) -> None:
        self._line = b""
        self._data: list[str] = []
        self._name = ""
        self._stray = ""
        self._is_first = True
        self._was_return = False

    @property
    def stray(self) -> str:
        """Lines so far that do not belong to an event stream, including one that has not ended."""
        last = self._line.decode("utf-8", "replace")
        is_field = last.partition(":")[0] in (*FIELDS, ERROR)
        return (self._stray if is_field else self._stray + last).strip()

    def feed(self, piece: bytes) -> list[Event]:
        """The events that ``piece`` completes."""
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

    def _take(self, line: str) -> Iterator[Event]:
        if self._is_first:
            line, self._is_first = line.removeprefix("\ufeff"), False
        if not line:
            event = Event("\n".join(self._data), self._name)
            self._data, self._name = [], ""
            if event.data:
                yield event
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == ERROR:
            yield Event(value, ERROR)
        elif name not in FIELDS and len(self._stray) < MOST_STRAY:
            self._stray += f"{line}\n"
