"""Request traces: when requests once arrived, and how long their texts were.

Formats:
    azure: the CSV of Azure's LLM inference traces, ``TIMESTAMP,ContextTokens,GeneratedTokens``
        (github.com/Azure/AzurePublicDataset).
    mooncake: the JSON lines of Mooncake's traces, ``timestamp`` in ms, ``input_length``,
        ``output_length`` (github.com/kvcache-ai/Mooncake). ``hash_ids`` name the prompt's blocks of
        512 tokens: prompts that begin with equal ids begin with equal text.
    own: JSON lines of ``arrival_s``, ``query_tokens`` and ``output_tokens``, the answer's or a
        mapping by agent. Queries with the same ``prompt`` are the same; a query that ``continues``
        an earlier row, by its number in the file from 1, begins with that row's query and answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from staircase.bounds import MOST_TOKENS
from staircase.errors import WorkloadError
from staircase.files import read_csv, read_json_lines
from staircase.shared_texts import TextPart
from staircase.timeline import PS_PER_S, to_ps

TraceFormat = Literal["azure", "mooncake", "own"]
# Enough for milliseconds since 1970, and few enough for picoseconds to be finite.
LATEST = 1e15
MOONCAKE_BLOCK = 512
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Seven digits of a second in Azure's files; ``datetime`` itself would cut them to six.
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?(Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True)
class TracedRequest:
    """One row of a trace.

    Attributes:
        query_tokens: at least 1, for a prompt is never empty.
        output_tokens: by agent, 0 or more.
        query: what it consists of that other requests have too.
        answer: name of the text that the answer is to later requests; "" for none.
    """

    arrival_ps: int
    query_tokens: int
    output_tokens: Mapping[str, int]
    query: tuple[TextPart, ...] = ()
    answer: str = ""


# A request and where it stands, for errors.
Row = tuple[str, TracedRequest]


def read_request_trace(
    path: Path, form: TraceFormat, answer: str, agents: Collection[str]
) -> list[TracedRequest]:
    """The requests of a trace, by arrival, the first at 0.

    Args:
        answer: the agent whose length a row's only number is.
        agents: those whose lengths each row has to say, ``answer`` among them.

    Raises:
        WorkloadError: names the file and the line.
    """
    requests = []
    for where, request in READERS[form](path, answer):
        if request.output_tokens.keys() != set(agents):
            raise WorkloadError(
                f"{where}: says how much {_listed(request.output_tokens)} write, must say it of "
                f"{_listed(agents)}, the agents that are not in workload.output_tokens"
            )
        requests.append(request)
    if not requests:
        raise WorkloadError(f"{path}: holds no request")
    requests.sort(key=lambda request: request.arrival_ps)
    first_ps = requests[0].arrival_ps
    return [replace(request, arrival_ps=request.arrival_ps - first_ps) for request in requests]


def _listed(names: Collection[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "nobody"


def _azure(path: Path, answer: str) -> Iterator[Row]:
    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    what = f"an Azure trace (CSV with {', '.join(columns)})"
    for where, cells in read_csv(path, columns, WorkloadError, what):
        query = parse_tokens(where, "ContextTokens", cells["ContextTokens"])
        written = parse_tokens(where, "GeneratedTokens", cells["GeneratedTokens"])
        arrival_ps = _moment_ps(where, cells["TIMESTAMP"])
        yield where, TracedRequest(arrival_ps, max(query, 1), {answer: written})


def _moment_ps(where: str, text: str) -> int:
    """Picoseconds since 1970; a time without a zone is UTC."""
    found = MOMENT.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        second, fraction, zone = found.groups(default="")
        moment = datetime.fromisoformat(second + (zone or "Z"))
    except ValueError:
        raise WorkloadError(
            f"{where}: TIMESTAMP is {text!r}, must be like 2023-11-16 18:15:46.6805900"
        ) from None
    return (moment - EPOCH) // timedelta(seconds=1) * PS_PER_S + int(fraction.ljust(12, "0"))


def _mooncake(path: Path, answer: str) -> Iterator[Row]:
    keys = ("timestamp", "input_length", "output_length")
    for where, entry in _objects(path, keys, "a Mooncake trace", also=("hash_ids",)):
        timestamp = _number(where, entry, "timestamp")
        if not timestamp.is_integer():
            raise WorkloadError(f"{where}: timestamp is {timestamp}, must be whole milliseconds")
        arrival_ps = to_ps(timestamp / 1000)
        query = _tokens(where, "input_length", entry["input_length"])
        written = _tokens(where, "output_length", entry["output_length"])
        blocks = _blocks(where, entry["hash_ids"], query) if "hash_ids" in entry else ()
        yield where, TracedRequest(arrival_ps, max(query, 1), {answer: written}, blocks)


def _blocks(where: str, ids: object, tokens: int) -> tuple[TextPart, ...]:
    count = -(-tokens // MOONCAKE_BLOCK)
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        raise WorkloadError(f"{where}: hash_ids must be a list of whole numbers")
    if len(ids) != count:
        raise WorkloadError(
            f"{where}: {len(ids)} hash_ids, must be {count}, one for each {MOONCAKE_BLOCK} of "
            f"input_length {tokens}"
        )
    starts = range(0, tokens, MOONCAKE_BLOCK)
    return tuple(
        TextPart(f"block {one}", min(MOONCAKE_BLOCK, tokens - start))
        for one, start in zip(ids, starts, strict=True)
    )


def _own(path: Path, answer: str) -> Iterator[Row]:
    rows, told = list(_own_rows(path, answer)), list[TracedRequest]()
    numbers = [entry.get("continues") for _, entry, _ in rows]
    continued = {number for number in numbers if isinstance(number, int)}
    asked: dict[object, tuple[str, int]] = {}
    for number, (where, entry, request) in enumerate(rows, start=1):
        if "continues" in entry and "prompt" in entry:
            raise WorkloadError(f"{where}: give prompt or continues, not both")
        if "continues" in entry:
            request = _continued(where, entry["continues"], request, told, answer)
        elif "prompt" in entry:
            request = _asked(where, entry["prompt"], request, asked)
        if number in continued:
            own = (TextPart(f"query {number}", request.query_tokens),)
            request = replace(request, query=request.query or own, answer=f"answer {number}")
        told.append(request)
        yield where, request


def _continued(
    where: str, number: object, request: TracedRequest, told: Sequence[TracedRequest], answer: str
) -> TracedRequest:
    """``request`` as it begins with query and answer of an earlier row."""
    if type(number) is not int or not 1 <= number <= len(told):
        raise WorkloadError(
            f"{where}: continues is {number!r}, must be the number of an earlier request, from 1"
        )
    before = told[number - 1]
    written = before.output_tokens.get(answer, 0)
    history = before.query_tokens + written
    if request.query_tokens <= history or request.arrival_ps < before.arrival_ps:
        raise WorkloadError(
            f"{where}: continues {number}, whose query and answer have {history} tokens, so it "
            "must come later and its query_tokens must be more"
        )
    rest = TextPart(f"more {len(told) + 1}", request.query_tokens - history)
    return replace(request, query=(*before.query, TextPart(before.answer, written), rest))


def _asked(
    where: str, prompt: object, request: TracedRequest, asked: dict[object, tuple[str, int]]
) -> TracedRequest:
    """``request`` as it asks what every other of this ``prompt`` does."""
    if not isinstance(prompt, str):
        raise WorkloadError(f"{where}: prompt is {prompt!r}, must be a name in quotes")
    first, tokens = asked.setdefault(prompt, (where, request.query_tokens))
    if tokens != request.query_tokens:
        raise WorkloadError(
            f"{where}: query_tokens of prompt {prompt!r} is {request.query_tokens}, and {tokens} "
            f"in {first.rpartition(', ')[2]}; they are the same query"
        )
    return replace(request, query=(TextPart(f"prompt {prompt}", tokens),))


def _own_rows(path: Path, answer: str) -> Iterator[tuple[str, dict[str, Any], TracedRequest]]:
    keys = ("arrival_s", "query_tokens", "output_tokens")
    for where, entry in _objects(path, keys, "a trace", also=("prompt", "continues")):
        arrival_ps = to_ps(_number(where, entry, "arrival_s"))
        query = _tokens(where, "query_tokens", entry["query_tokens"])
        given = entry["output_tokens"]
        by_agent = given if isinstance(given, Mapping) else {answer: given}
        written = {
            name: _tokens(where, f"output_tokens of {name!r}", tokens)
            for name, tokens in by_agent.items()
        }
        yield where, entry, TracedRequest(arrival_ps, max(query, 1), written)


READERS: Mapping[TraceFormat, Callable[[Path, str], Iterator[Row]]] = {
    "azure": _azure,
    "mooncake": _mooncake,
    "own": _own,
}


def _objects(
    path: Path, keys: Sequence[str], what: str, also: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with all of ``keys``, and where they stand.

    Keys that are neither of them nor in ``also`` are told: who writes more may count in other
    units.
    """
    for where, entry in read_json_lines(path, WorkloadError, f"{what} ({', '.join(keys)} a line)"):
        if not isinstance(entry, dict):
            raise WorkloadError(f"{where}: must be an object with {', '.join(keys)}")
        for key in keys:
            if key not in entry:
                raise WorkloadError(f"{where}: no {key!r}; needs {', '.join(keys)}")
        for key in entry:
            if key not in (*keys, *also):
                known = ", ".join((*keys, *also))
                raise WorkloadError(
                    f"{where}: unknown key {key!r}, as of another format, whose times may have "
                    f"another unit; {what} has {known}"
                )
        yield where, entry


def _number(where: str, entry: Mapping[str, Any], key: str) -> float:
    value = entry[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # So written, the comparison fails for NaN as well.
    if is_number and abs(value) <= LATEST:
        return float(value)
    raise WorkloadError(f"{where}: {key} is {value!r}, must be a number of at most {LATEST:.0e}")


def _tokens(where: str, key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    raise WorkloadError(
        f"{where}: {key} is {value!r}, must be a whole number from 0 to {MOST_TOKENS}"
    )


def parse_tokens(where: str, key: str, text: str) -> int:
    """The number of tokens that ``text`` is.

    Raises:
        WorkloadError: it is none; begins with ``where``.
    """
    try:
        return _tokens(where, key, int(text))
    except ValueError:
        return _tokens(where, key, text)
