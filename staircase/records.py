"""Records: what was seen of each request of a run, simulated or measured, as a file.

Three formats, told apart by their keys:

    Staircase      JSON lines, one ``Record`` each; what is not known is null
    vLLM           the JSON object of ``vllm bench serve --save-result --save-detailed``
    LLMServingSim  the JSON lines of its ``requests.jsonl``, which hold no times of single tokens
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from staircase.errors import RecordError
from staircase.files import (
    first_error,
    json_lines,
    parse_json,
    read_text,
    without_nan,
    write_pieces,
)
from staircase.metrics.request_metrics import METRICS, READING_RATE, RequestMetrics, measure
from staircase.metrics.shortfalls import missing_of
from staircase.timeline import Timeline, to_s

T = TypeVar("T")
Entry = tuple[str, Mapping[str, Any]]
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What was asked and answered; None where the texts or the score are not known."""

    question: str | None = None
    reference: str | None = None
    answer: str | None = None
    score: float | None = None


@dataclass(frozen=True)
class Record(RequestMetrics, Exchange):
    """One request; NaN where the file does not say.

    Attributes:
        arrival_s: since the run began.
        token_s: when each token of the answer was there, since its arrival; empty if not known.
            vLLM's client sees pieces, which hold several tokens where the server sends them so.
        error: why there is no complete answer, or None.
        missing: by agent, why its text is not there, or not all of it.
    """

    request: int
    arrival_s: float
    token_s: tuple[float, ...]
    error: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def gaps_s(self) -> np.ndarray:
        return np.diff(self.token_s)


UNTOLD = Exchange()
_UNMEASURED: dict[str, Any] = dict.fromkeys(METRICS, NAN)
UNKNOWN = Record(**_UNMEASURED, request=0, arrival_s=NAN, token_s=(), error="no answer")


@dataclass(frozen=True)
class _VllmRun:
    """Lists with an entry per request, in seconds (vllm/benchmarks/serve.py)."""

    ttfts: list[float]
    itls: list[list[float]]
    output_lens: list[int]
    errors: list[str]
    start_times: list[float] | None = None


@dataclass(frozen=True)
class _ServingSimLine:
    """Seconds of one clock."""

    output_toks: int
    queued_ts: float
    first_token_ts: float
    last_token_ts: float
    scheduled_ts: float | None = None


OWN, VLLM, SERVING_SIM = TypeAdapter(Record), TypeAdapter(_VllmRun), TypeAdapter(_ServingSimLine)


def record(
    timeline: Timeline, reading_rate: float = READING_RATE, exchange: Exchange = UNTOLD
) -> Record:
    return Record(
        **asdict(measure(timeline, reading_rate)),
        **asdict(exchange),
        request=timeline.request,
        arrival_s=to_s(timeline.arrival_ps),
        token_s=tuple(to_s(ps - timeline.arrival_ps) for ps in timeline.answer_ps),
        error=timeline.error,
        missing=missing_of(timeline),
    )


def write_records(
    path: Path,
    timelines: Sequence[Timeline],
    reading_rate: float = READING_RATE,
    exchanges: Sequence[Exchange] | None = None,
) -> None:
    """Writes ``timelines`` in Staircase's own format, with what was said if it is known."""
    said = exchanges or [UNTOLD] * len(timelines)
    pairs = zip(timelines, said, strict=True)
    records = (asdict(record(timeline, reading_rate, one)) for timeline, one in pairs)
    write_pieces(
        path,
        (json.dumps(without_nan(entry), ensure_ascii=False) + "\n" for entry in records),
    )


def read_records(path: Path) -> list[Record]:
    """Records in the order of the requests.

    Raises:
        RecordError: names the file, the line and the key.
    """
    return parse_records(path, read_text(path, RecordError, "a record of requests"))


def parse_records(path: Path, text: str) -> list[Record]:
    """As ``read_records`` of ``path``, of which ``text`` was read."""
    entries = _entries(path, text)
    keys = entries[0][1].keys()
    if keys & {"ttft_s", "token_s"}:
        return sorted((_own(entry) for entry in entries), key=lambda row: row.request)
    if keys & {"ttfts", "itls", "request_throughput"}:
        return _vllm(path, entries)
    if keys & {"queued_ts", "first_token_ts"}:
        return _serving_sim(entries)
    raise RecordError(
        f"{path}: no record of requests, which 'staircase simulate --save', 'vllm bench serve "
        "--save-result --save-detailed' and LLMServingSim (requests.jsonl) write"
    )


def _entries(path: Path, text: str) -> list[Entry]:
    try:
        # One object over several lines, as when vLLM's file has been formatted.
        values = [(str(path), parse_json(text, RecordError, str(path)))]
    except RecordError:
        values = list(json_lines(text, RecordError, path))
    for place, value in values:
        if not isinstance(value, dict):
            raise RecordError(f"{place}: must be an object, as in {{...}}")
    if not values:
        raise RecordError(f"{path}: holds no request")
    return values


def _checked(kind: TypeAdapter[T], entry: Entry) -> T:
    place, content = entry
    for key, value in content.items():
        if _is_infinite(value):
            raise RecordError(f"{place}: {key}: must be finite")
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        raise RecordError(f"{place}: {first_error(error)}") from None


def _is_infinite(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_is_infinite, value))
    return isinstance(value, float) and math.isinf(value)


def _own(entry: Entry) -> Record:
    place, content = entry
    known = {
        key: NAN if value is None and key in METRICS else value for key, value in content.items()
    }
    return _checked(OWN, (place, known))


def _vllm(path: Path, entries: Sequence[Entry]) -> list[Record]:
    if len(entries) > 1:
        raise RecordError(f"{path}: holds {len(entries)} runs of vLLM; keep one, without others")
    if "ttfts" not in entries[0][1]:
        raise RecordError(f"{path}: no key 'ttfts'; vLLM writes it with --save-detailed")
    run = _checked(VLLM, entries[0])
    counts = {key: len(values) for key, values in vars(run).items() if values is not None}
    for key, count in counts.items():
        if count != counts["ttfts"]:
            raise RecordError(
                f"{path}: {key!r} has {count} entries, 'ttfts' {counts['ttfts']}; must be as many"
            )
    starts = run.start_times or [NAN] * counts["ttfts"]
    # A request that failed may have no start.
    began = min((s for s, tokens in zip(starts, run.output_lens, strict=True) if tokens), default=0)
    return [_vllm_record(run, number, start - began) for number, start in enumerate(starts)]


def _vllm_record(run: _VllmRun, number: int, arrival_s: float) -> Record:
    if run.errors[number] or not run.output_lens[number]:
        return replace(UNKNOWN, request=number, error=run.errors[number] or "no answer")
    tokens = run.output_lens[number]
    token_s = np.cumsum([run.ttfts[number], *run.itls[number]]).tolist()
    return replace(
        UNKNOWN,
        request=number,
        arrival_s=arrival_s,
        ttft_s=token_s[0],
        tpot_s=_tpot_s(token_s[0], token_s[-1], tokens),
        e2e_s=token_s[-1],
        answer_tokens=tokens,
        token_s=tuple(token_s),
        error=None,
    )


def _serving_sim(entries: Sequence[Entry]) -> list[Record]:
    lines = [_checked(SERVING_SIM, entry) for entry in entries]
    lines.sort(key=lambda line: line.queued_ts)
    began = lines[0].queued_ts
    return [_serving_sim_record(line, number, began) for number, line in enumerate(lines)]


def _serving_sim_record(line: _ServingSimLine, number: int, began: float) -> Record:
    ttft_s, e2e_s = line.first_token_ts - line.queued_ts, line.last_token_ts - line.queued_ts
    scheduled = NAN if line.scheduled_ts is None else line.scheduled_ts
    return replace(
        UNKNOWN,
        request=number,
        arrival_s=line.queued_ts - began,
        ttft_s=ttft_s,
        tpot_s=_tpot_s(ttft_s, e2e_s, line.output_toks),
        e2e_s=e2e_s,
        queued_s=scheduled - line.queued_ts,
        answer_tokens=line.output_toks,
        error=None,
    )


def _tpot_s(ttft_s: float, e2e_s: float, tokens: int) -> float:
    return (e2e_s - ttft_s) / (tokens - 1) if tokens > 1 else NAN
