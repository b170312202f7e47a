"""Profiles in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from planner.figures.number_format import number
from profiles.latency.endpoint import EndpointProfile
from profiles.latency.points import (
    ATTENTION,
    DECODE_TERMS,
    EXPERT_KNOTS,
    PREFILL_KNOTS,
    PREFILL_TERMS,
)
from profiles.latency.profile import EngineProfile, Fit, LatencyProfile, ProfileRange
from profiles.latency.wide_passes import PassRatio
from profiles.store import Provenance

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"), (1e-12, "ps"))
# Fits leave such in place of nothing.
NOTHING_S = 1e-13
TOKENS = (16, 64, 256, 1024, 4096, 16384)
BATCHES = (1, 4, 16, 64, 256)
CONTEXTS = (256, 1024, 4096, 16384)


@dataclass(frozen=True)
class Entry:
    """An engine of a profile file; ``name`` is how to call for it."""

    file: str
    model: str
    is_alone: bool
    engine: EngineProfile
    provenance: Provenance

    @property
    def name(self) -> str:
        return self.file if self.is_alone else f"{self.file}:{self.model}"

    @property
    def hardware(self) -> str:
        return str(self.provenance.settings.get("hardware") or self.provenance.machine)

    @property
    def source(self) -> str:
        return str(self.provenance.settings.get("source") or "measured by Staircase")


def seconds_words(seconds: float) -> str:
    """Three digits or so, in the unit that fits."""
    if seconds < NOTHING_S:
        return "0 s"
    # What rounds to 1000 is 1 of the next unit.
    size, unit = next((u for u in UNITS if seconds >= 0.9995 * u[0]), UNITS[-1])
    return f"{number(seconds / size)} {unit}"


def list_table(entries: Sequence[Entry]) -> Table:
    """Median leave-out errors of prefill and decode; what an entry shares with the one above is
    not said again."""
    table = Table(title="Latency profiles", title_justify="left")
    for column in ("profile", "engine", "hardware", "source", "prefill", "decode"):
        table.add_column(column, justify="right" if column in ("prefill", "decode") else "left")
    above = None
    for entry in entries:
        shared = (entry.file, entry.hardware, entry.source)
        file, hardware, source = shared if shared != above else ("", "", "")
        errors = (entry.engine.prefill.error, entry.engine.decode.error)
        words = (f"±{error:.1%}" for error in errors)
        table.add_row(file, entry.model, hardware, source, *words)
        above = shared
    return table


def engine_lines(engine: EngineProfile) -> Iterator[str]:
    """Coefficients, errors and range, in words."""
    yield f"prefill: {_prefill_words(engine.prefill)}"
    yield f"decode: {_decode_words(engine.decode)}"
    yield (
        f"median error of points left out of the fit: prefill {engine.prefill.error:.1%}, "
        f"decode {engine.decode.error:.1%}"
    )
    both_ranges = engine.measured_range
    yield (
        f"measured up to {both_ranges.new_tokens:,} new tokens, {both_ranges.batch:,} sequences, "
        f"{both_ranges.context_tokens:,} tokens of context"
    )
    for words in engine.unmeasured:
        yield f"no time to measure {words}"
    if engine.call_s:
        yield f"each call: {seconds_words(engine.call_s)}"


def _prefill_words(fit: Fit) -> str:
    seconds = [value * fit.mean_ratio for value in fit.coefficients]
    fixed, token, *bends = seconds[:ATTENTION]
    # Older profiles know nothing of reading.
    pair, *reading = seconds[ATTENTION:PREFILL_TERMS]
    more = [
        f"{seconds_words(bend)} more for each beyond {knot:,}"
        for knot, bend in zip(PREFILL_KNOTS, bends, strict=True)
        if bend >= NOTHING_S
    ]
    words = [f"{seconds_words(fixed)} and {seconds_words(token)} a new token", *more]
    words += _expert_words(seconds[PREFILL_TERMS:])
    words.append(f"{seconds_words(pair)} a pair of tokens that attend")
    words += [f"{seconds_words(value)} a cached token" for value in reading if value >= NOTHING_S]
    return "; ".join(words)


def _decode_words(fit: Fit) -> str:
    seconds = [value * fit.mean_ratio for value in fit.coefficients]
    fixed, sequence, token = (seconds_words(value) for value in seconds[:DECODE_TERMS])
    words = f"{fixed}, {sequence} a sequence and {token} a token of context"
    return "; ".join([words, *_expert_words(seconds[DECODE_TERMS:])])


def _expert_words(seconds: Sequence[float]) -> list[str]:
    """Nothing of a dense model."""
    return [
        f"{seconds_words(each)} more for each of the first {knot:,}"
        for knot, each in zip(EXPERT_KNOTS, seconds, strict=False)
        if each >= NOTHING_S
    ]


def provenance_lines(provenance: Provenance) -> Iterator[str]:
    for key, value in provenance.settings.items():
        yield f"{key}: {value}"
    yield f"made: {provenance.made}, {provenance.machine}"


def endpoint_lines(profile: EndpointProfile) -> Iterator[str]:
    grows = f" and {seconds_words(profile.ttft_per_token_s)} a prompt token"
    yield (
        f"TTFT: {seconds_words(profile.ttft_s)}{grows if profile.ttft_per_token_s else ''}, "
        f"spread {profile.spread:.2f}"
    )
    yield f"ITL: {seconds_words(profile.itl_s)}, spread {profile.itl_spread:.2f}"
    yield "both as seen under the load of the test, by call; queueing is in the TTFT"
    if profile.requests is not None:
        yield f"{profile.requests:,} requests"


def forecast_table(engine: EngineProfile) -> Table:
    """Milliseconds within the measured range: prefills, then decodes by context."""
    sizes = [n for n in TOKENS if n <= engine.measured_range.new_tokens]
    contexts = [n for n in CONTEXTS if n <= engine.measured_range.context_tokens]
    table = Table(title="Forecast, ms", title_justify="left")
    table.add_column("iteration")
    for size in sizes:
        table.add_column(f"{size:,}", justify="right")
    table.add_row("prefill of tokens", *(number(engine.prefill_s(n, 0) * 1e3) for n in sizes))
    table.add_section()
    for batch in [n for n in BATCHES if n <= engine.measured_range.batch]:
        times = {n: number(engine.decode_s(batch, batch * n) * 1e3) for n in contexts}
        cells = [times.get(size, "") for size in sizes]
        table.add_row(f"decode of {batch}, context", *cells)
    return table


@dataclass(frozen=True)
class Ratio:
    """Seconds of one profile over those of another."""

    what: str
    ratio: float


def compare_engines(first: EngineProfile, second: EngineProfile) -> list[Ratio]:
    """Over sizes within the range of both."""
    both_ranges = common_range(first, second)
    prefills = [
        Ratio(f"prefill of {n:,}", first.prefill_s(n, 0) / second.prefill_s(n, 0))
        for n in TOKENS
        if n <= both_ranges.new_tokens
    ]
    decodes = [
        Ratio(
            f"decode of {b} at context {c:,}",
            first.decode_s(b, b * c) / second.decode_s(b, b * c),
        )
        for b in BATCHES
        for c in CONTEXTS
        if b <= both_ranges.batch and c <= both_ranges.context_tokens
    ]
    return prefills + decodes


def common_range(first: EngineProfile, second: EngineProfile) -> ProfileRange:
    one, other = first.measured_range, second.measured_range
    return ProfileRange(
        min(one.new_tokens, other.new_tokens),
        min(one.batch, other.batch),
        min(one.context_tokens, other.context_tokens),
    )


def geometric_mean(ratios: Sequence[Ratio]) -> float:
    return math.exp(sum(math.log(one.ratio) for one in ratios) / len(ratios))


def ratio_table(ratios: Sequence[Ratio], first: str, second: str) -> Table:
    table = Table(title=f"{first} / {second}", title_justify="left")
    table.add_column("iteration")
    table.add_column("ratio of seconds", justify="right")
    for one in ratios:
        table.add_row(one.what, number(one.ratio))
    return table


def latency_lines(profile: LatencyProfile) -> list[str]:
    """What was measured and how far it is to be trusted; once for engines that were one."""
    lines = []
    for engine in {one.prefill: one for one in profile.engines.values()}.values():
        names = ", ".join(name for name, one in profile.engines.items() if one == engine)
        lines += [f"{names}: {words}" for words in _engine_lines(engine)]
    return lines


def _engine_lines(engine: EngineProfile) -> list[str]:
    lines = [
        f"{what} within {fit.error:.1%}, with drift {fit.stated_error:.1%}"
        for what, fit in (("prefill", engine.prefill), ("decode", engine.decode))
    ]
    lines.append(f"fixed per call {number(1e3 * engine.call_s)} ms")
    if engine.contention != 1:
        lines.append(f"in turn with another engine {engine.contention:.3f} times as long")
    if engine.mixed_decode is not None:
        lines.append(f"decoding beside a prefill costs {engine.mixed_decode:.2f} of decoding alone")
    if engine.pass_ratios:
        ratios = [_ratio_words(one) for one in engine.pass_ratios]
        lines.append(f"passes of several tokens, over one of a single one: {', '.join(ratios)}")
    lines.append(f"prefix cache: {engine.cache or 'none found'}")
    return [*lines, *(f"no time to measure {words}" for words in engine.unmeasured)]


def _ratio_words(one: PassRatio) -> str:
    batch = f" of each of {one.batch}" if one.batch > 1 else ""
    return f"{one.width}{batch} {one.ratio:.2f} (±{one.spread:.0%})"
