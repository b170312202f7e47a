"""Looks every number of a report up in the files that it was made from."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

from planner.figures.number_format import number

# A digit in a word, as in E2E or p90, is no number.
NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+(?:\.\d+)?")
# Elements that hold no text of the page's own.
UNREAD = {"style", "script"}
ALONE = {"meta", "link", "br"}


class Texts(HTMLParser):
    """Every piece of text with the attributes of the element that it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[dict[str, str | None], str]] = []
        self.attributes: list[tuple[str, str]] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ALONE:
            self._open.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ALONE:
            assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] not in UNREAD:
            self.texts.append((self._open[-1][1], data))


def lookup(documents: dict[str, object], place: str) -> object:
    """What stands at ``place``, read from the files without the code that printed it."""
    path, _, factor = place.partition("*")
    found: Any = documents
    for key in map(unquote, path.split("/")):
        if key == "#":
            assert isinstance(found, list)
            return len(found)
        if isinstance(found, list):
            found = found[int(key)]
        else:
            assert isinstance(found, dict)
            found = found[key]
    return float(found) * float(factor) if factor else found


def shown(value: object) -> str:
    if isinstance(value, str | int):
        return str(value)
    return number(float("nan") if value is None else float(value))  # type: ignore[arg-type]


def check_numbers(page: str, documents: dict[str, object]) -> int:
    """How many numbers were looked up."""
    parser = Texts()
    parser.feed(page)
    count = 0
    for attributes, text in parser.texts:
        if "data-json" in attributes:
            assert json.loads(text) == lookup(documents, attributes["data-json"] or "")
        else:
            places = (attributes.get("data-at") or "").split()
            told = " ".join(shown(lookup(documents, place)) for place in places)
            assert NUMBER.findall(text) == NUMBER.findall(told), (text, places)
            count += len(NUMBER.findall(text))
    return count
