"""Files with each request of a recorded run: its lengths, when it came and how long it took.

Four formats: the JSON of ``vllm bench serve --save-result --save-detailed``, LLMServingSim's
``requests.jsonl``, and one's own rows as JSON lines or CSV (``OwnRow``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from benchmarks.referee.recorded import Floats
from profiles.json_node import Node, parse_node
from staircase import RequestShape, Workload
from staircase.bounds import LONGEST_RUN_S, MOST_TOKENS
from staircase.errors import RecordError
from staircase.files import first_error, json_lines, parse_json, read_csv, read_text
from staircase.prompt import query
from staircase.records import Record, parse_records
from staircase.shared_texts import Parts, TextPart
from staircase.spec.strict import PositiveSeconds, Strict, Tokens
from staircase.timeline import to_ps

QUERY = query("model")
WHAT = "a file of requests"
NAN = float("nan")
# Of clocks that began long ago.
Moment = Annotated[float, Field(ge=0, le=1e10)]


class OwnRow(Strict):
    """One request; ``prompt`` names one that others ask as well."""

    arrival_s: Moment
    prompt_tokens: Tokens
    output_tokens: Tokens
    ttft_s: PositiveSeconds
    e2e_s: PositiveSeconds
    prompt: str | None = None


ROW_KEYS = [key for key in OwnRow.model_fields if key != "prompt"]


@dataclass(frozen=True)
class Asked:
    """A request that was answered; arrivals are NaN where they are not known."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float
    e2e_s: float
    prompt: str | None = None


@dataclass(frozen=True)
class SeenRequests:
    """Requests in the order of their arrival.

    Attributes:
        columns: of each, by metric.
        remarks: what was left out.
    """

    workload: Workload
    columns: dict[str, Floats]
    remarks: tuple[str, ...] = ()


def read_requests(path: Path, system_tokens: int = 0) -> SeenRequests:
    """The requests in ``path``, which all begin with the same ``system_tokens``.

    Raises:
        InputError: names the file, and the line or the key.
    """
    text = read_text(path, RecordError, WHAT)
    if path.suffix == ".csv":
        return _seen(path, _own_csv(path), None, system_tokens)
    first = _first_value(path, text)
    if "prompt_tokens" in first:
        return _seen(path, _own_lines(path, text), None, system_tokens)
    records = parse_records(path, text)
    if "ttfts" in first:
        return _vllm(path, parse_node(path, text, WHAT), records, system_tokens)
    if "input_toks" in first:
        return _seen(path, _serving_sim(path, text, records), None, system_tokens)
    raise RecordError(
        f"{path}: does not say how long prompts are; should be of 'vllm bench serve', "
        f"LLMServingSim's requests.jsonl, or rows with {', '.join(ROW_KEYS)}"
    )


def _first_value(path: Path, text: str) -> dict[str, Any]:
    """The whole file if it is one JSON value, else its first line."""
    try:
        value = parse_json(text, RecordError, str(path))
    except RecordError:
        _, value = next(json_lines(text, RecordError, path), ("", None))
    if not isinstance(value, dict):
        raise RecordError(f"{path}: must hold objects, as in {{...}}")
    return value


def _own_csv(path: Path) -> list[Asked]:
    header = read_text(path, RecordError, WHAT).partition("\n")[0].split(",")
    columns = [*ROW_KEYS, *(["prompt"] if "prompt" in map(str.strip, header) else [])]
    rows = read_csv(path, columns, RecordError, f"{WHAT} with {', '.join(ROW_KEYS)}")
    return [_own(where, _of_text, cells) for where, cells in rows]


def _of_text(cells: dict[str, str]) -> OwnRow:
    given = {key: cell for key, cell in cells.items() if cell}
    return OwnRow.model_validate_strings(given, strict=False)


def _own_lines(path: Path, text: str) -> list[Asked]:
    rows = json_lines(text, RecordError, path)
    return [_own(where, OwnRow.model_validate, row) for where, row in rows]


def _own(where: str, check: Callable[[Any], OwnRow], content: object) -> Asked:
    try:
        row = check(content)
    except ValidationError as error:
        raise RecordError(f"{where}: {first_error(error)}") from None
    if row.e2e_s < row.ttft_s:
        raise RecordError(f"{where}: e2e_s is {row.e2e_s}, must be ttft_s or more")
    gaps = row.output_tokens - 1
    tpot_s = (row.e2e_s - row.ttft_s) / gaps if gaps else NAN
    return Asked(
        row.arrival_s,
        row.prompt_tokens,
        row.output_tokens,
        row.ttft_s,
        tpot_s,
        row.e2e_s,
        row.prompt,
    )


def _serving_sim(path: Path, text: str, records: Sequence[Record]) -> list[Asked]:
    """``records`` are in the order of ``queued_ts``."""
    lines = [Node(where, "", row) for where, row in json_lines(text, RecordError, path)]
    lines.sort(key=lambda line: line["queued_ts"].number())
    pairs = zip(records, lines, strict=True)
    return [_asked(record, line["input_toks"].count(1)) for record, line in pairs]


def _vllm(path: Path, run: Node, records: Sequence[Record], system_tokens: int) -> SeenRequests:
    prompts = [node.count() for node in run["input_lens"]]
    if len(prompts) != len(records):
        raise RecordError(f"{path}: 'input_lens' has {len(prompts)} entries, not {len(records)}")
    pairs = zip(records, prompts, strict=True)
    rows = [_asked(one, max(1, tokens)) for one, tokens in pairs if one.error is None]
    failed = len(records) - len(rows)
    is_at_once = "request_rate" not in run or run["request_rate"].value in ("inf", float("inf"))
    limit = run["max_concurrency"].count(1) if "max_concurrency" in run and is_at_once else None
    if is_at_once and limit is None and rows and np.isnan(rows[0].arrival_s):
        limit = len(rows)
    remarks = (f"{failed} failed requests left out",) if failed else ()
    return _seen(path, rows, limit, system_tokens, remarks)


def _asked(record: Record, prompt_tokens: int) -> Asked:
    return Asked(
        record.arrival_s,
        prompt_tokens,
        int(record.answer_tokens),
        record.ttft_s,
        record.tpot_s,
        record.e2e_s,
    )


def _seen(
    path: Path,
    rows: Sequence[Asked],
    concurrency: int | None,
    system_tokens: int,
    remarks: tuple[str, ...] = (),
) -> SeenRequests:
    """Without a ``concurrency``, requests come when they came."""
    if not rows:
        raise RecordError(f"{path}: holds no request that was answered")
    for tokens in chain.from_iterable((row.prompt_tokens, row.output_tokens) for row in rows):
        if not 1 <= tokens <= MOST_TOKENS:
            raise RecordError(f"{path}: a text has {tokens} tokens, must have 1 to {MOST_TOKENS}")
    if concurrency is None:
        rows = sorted(rows, key=lambda row: row.arrival_s)
    shapes = [_shape(row, system_tokens) for row in rows]
    columns = {
        name: np.array([getattr(row, name) for row in rows], dtype=float)
        for name in ("ttft_s", "tpot_s", "e2e_s")
    }
    if concurrency is not None:
        return SeenRequests(Workload(shapes, concurrency), columns, remarks)
    return SeenRequests(Workload(shapes, arrivals_ps=_arrivals_ps(path, rows)), columns, remarks)


def _arrivals_ps(path: Path, rows: Sequence[Asked]) -> list[int]:
    if any(np.isnan(row.arrival_s) for row in rows):
        raise RecordError(
            f"{path}: does not say when requests were sent; newer vLLMs write 'start_times', and "
            "run.yaml takes lengths and rate_per_s instead of file"
        )
    began_s = rows[0].arrival_s
    if rows[-1].arrival_s - began_s > LONGEST_RUN_S:
        raise RecordError(f"{path}: requests come over more than {LONGEST_RUN_S:g} s")
    return [to_ps(row.arrival_s - began_s) for row in rows]


def _shape(row: Asked, system_tokens: int) -> RequestShape:
    parts: Parts = {}
    system = TextPart("system", min(system_tokens, row.prompt_tokens))
    own = TextPart(f"prompt {row.prompt}", row.prompt_tokens - system.tokens)
    common = [part for part in (system, *([own] if row.prompt else [])) if part.tokens]
    if common:
        parts = {QUERY: tuple(common)}
    output = {"model": row.output_tokens}
    return RequestShape({QUERY: row.prompt_tokens}, output, "length", parts=parts)
