"""Figures of a report, each printed from one place in the plan's or the validation's JSON.

A place is ``plan/candidates/3/forecast/ttft_s/mean*1000``: the file, the keys and numbers on the
way, and a factor if another unit is to be shown; ``/#`` at its end is how many entries there are.
What a page shows of a place carries its name, so that a test can look every number up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from markupsafe import Markup, escape

from planner.figures.number_format import number


def place_of(*keys: str | int, factor: float = 1) -> str:
    """The place with these keys; any text may be a key."""
    path = "/".join(quote(str(key), safe="#") for key in keys)
    return path if factor == 1 else f"{path}*{factor:g}"


@dataclass(frozen=True)
class Figures:
    """The contents of files by name, as JSON has them."""

    documents: Mapping[str, Any]

    def value(self, place: str) -> Any:
        """What stands there, unchanged; None where nothing does."""
        path = place.partition("*")[0]
        found: Any = self.documents
        for key in map(unquote, path.split("/")):
            if found is None:
                return None
            if key == "#":
                return len(found)
            found = found[int(key)] if isinstance(found, list) else found.get(key)
        return found

    def scaled(self, place: str) -> float:
        """The number there in the unit that is shown; NaN if there is none."""
        value, factor = self.value(place), place.partition("*")[2]
        return math.nan if value is None else float(value) * float(factor or 1)

    def text(self, place: str) -> str:
        value = self.value(place)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and "*" not in place:
            return str(value)
        return number(self.scaled(place))

    def words(self, template: str, places: Sequence[str]) -> str:
        """``template`` with what stands at ``places`` for each ``{}``."""
        return template.format(*map(self.text, places))

    def html(self, *places: str, template: str = "{}", tag: str = "data") -> Markup:
        """The same as an element that names its places."""
        said = escape(self.words(template, places))
        return Markup(f'<{tag} data-at="{escape(" ".join(places))}">{said}</{tag}>')
