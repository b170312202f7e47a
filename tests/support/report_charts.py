"""Looks every value that a page's charts show up in the files that it was made from."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from tests.support.report_numbers import NUMBER, Texts, lookup, shown

SPEC = re.compile(
    r'<figure class="chart" id="([^"]*)"><div></div><script type="application/json">(.*?)</script>',
    re.DOTALL,
)


def specs(page: str) -> dict[str, Any]:
    """Specifications by the names of their elements, which are all different."""
    found = [(name, json.loads(text)) for name, text in SPEC.findall(page)]
    assert len(found) == page.count('class="chart"') == len(dict(found))
    return dict(found)


def loaded(page: str) -> list[str]:
    """What elements of the page would load."""
    parser = Texts()
    parser.feed(page)
    return [value for name, value in parser.attributes if name in ("src", "href", "srcset")]


def data_of(spec: Any) -> Iterator[Any]:
    """Every dataset in it, however deep."""
    if isinstance(spec, dict):
        assert "datasets" not in spec
        if "data" in spec:
            yield spec["data"]
        spec = [value for key, value in spec.items() if key != "data"]
    if isinstance(spec, list):
        for part in spec:
            yield from data_of(part)


def check_charts(page: str, documents: dict[str, object]) -> int:
    """How many values were looked up."""
    count = 0
    for spec in specs(page).values():
        columns = spec["usermeta"]["columns"]
        for data in data_of(spec):
            if "values" in data:
                for row in data["values"]:
                    count += check_row(row, columns[data["name"]], documents)
    return count


def check_row(row: dict[str, Any], columns: dict[str, str], documents: dict[str, object]) -> int:
    at = row["at"]
    count = 0
    for field, value in row.items():
        if field in columns:
            assert value == found_at(documents, at, columns[field]), (at, field)
            count += 1
        elif field == "number":
            assert str(value) == at.rpartition("/")[2]
        elif f"{field}_at" in row:
            told = " ".join(shown(lookup(documents, one)) for one in row[f"{field}_at"].split())
            assert NUMBER.findall(value) == NUMBER.findall(told), (at, field)
            count += 1
        elif field != "at" and not field.endswith("_at"):
            assert not NUMBER.findall(value), (at, field)
    return count


def found_at(documents: dict[str, object], at: str, way: str) -> object:
    """In the row at ``at``, what is found by this way; None where nothing is."""
    path, star, factor = way.partition("*")
    place = posixpath.normpath(posixpath.join("/", at, path)).lstrip("/")
    try:
        if lookup(documents, place) is None:
            return None
    except KeyError:
        return None
    return lookup(documents, f"{place}{star}{factor}")
