"""Whole prefills and decode iterations as aiconfigurator models them from measured operators.

A row of the table has system, model, tp, dtype, phase; batch_size, new_tokens_per_seq,
context_tokens_per_seq (before the new ones); latency_ms; and oom, 1 where it does not fit into
memory. No time of an engine's host is in it. Such a table is made with ``run_static`` of PyPI's
aiconfigurator 0.12.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from profiles.importers.rows import CsvRow, read_rows
from profiles.latency.profile import DecodePoint, PrefillPoint

SETUP = ("system", "model", "tp", "dtype")
SIZES = ("batch_size", "new_tokens_per_seq", "context_tokens_per_seq")
PHASES = ("prefill", "decode")
WHAT = "a table derived from aiconfigurator"


@dataclass(frozen=True)
class ModelledSetup:
    """``model`` without the name of who made it, as in ``Llama-3.1-8B``."""

    system: str
    model: str
    tensor_parallel: int
    dtype: str


@dataclass(frozen=True)
class ModelledPoints:
    prefill: list[PrefillPoint] = field(default_factory=list)
    decode: list[DecodePoint] = field(default_factory=list)

    def add(self, row: CsvRow) -> None:
        batch, new, context = (row.count(size) for size in SIZES)
        seconds = row.positive("latency_ms") / 1e3
        if row.cells["phase"] == "prefill":
            self.prefill.append(PrefillPoint(new, context, seconds, 0.0, 1.0, batch))
        else:
            self.decode.append(DecodePoint(batch, batch * context, seconds, 0.0, 1.0))


def read_aiconfigurator(path: Path) -> dict[ModelledSetup, ModelledPoints]:
    """The points of each setup that fit into memory.

    Raises:
        ProfileError: the file or a column is missing, or a cell is wrong; names the line.
    """
    found: dict[ModelledSetup, ModelledPoints] = defaultdict(ModelledPoints)
    for row in read_rows(path, (*SETUP, "phase", *SIZES, "latency_ms", "oom"), WHAT):
        if row.cells["phase"] not in PHASES:
            raise row.error("phase", f"must be one of {', '.join(PHASES)}")
        if row.cells["oom"] != "1":
            found[_setup(row)].add(row)
    return found


def _setup(row: CsvRow) -> ModelledSetup:
    model = row.cells["model"].rpartition("/")[2].removeprefix("Meta-")
    return ModelledSetup(row.cells["system"], model, row.count("tp"), row.cells["dtype"])
