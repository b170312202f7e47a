"""A plan explained in the terminal, in one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest

from planner.figures.axis import Axis
from planner.figures.describing import describe_schedule
from planner.figures.number_format import number
from planner.figures.objectives import parse_objective
from planner.results.comparison import BASELINES
from planner.results.explanation import Explanation, Gain, Neighbour
from planner.results.plans import Plan
from planner.results.validation import Validation
from staircase.timeline import Timeline

LINES, COLUMNS = 48, 80
# Of the staircase's picture, and at most so many lines of each list.
TALL, WIDE, MOST = 7, 56, 4
# What there is less of where not all fits: the report shows it too.
SHORTENED = ("neighbours", "importances")
GAP = "  "
# A share of a figure below which two are alike.
LEAST_TOLD = 0.0005


def explanation_lines(
    plan: Plan, explanation: Explanation, validation: Validation | None
) -> list[str]:
    """At most ``LINES`` of at most ``COLUMNS``; long ones go on in the next."""
    sections = {
        "choice": _choice_lines(plan),
        "reading": [f"Forecast. {explanation.reading.sentence}"],
        "staircase": staircase_lines(explanation.timelines["chosen"], explanation.answer),
        "gains": _gain_lines(explanation.gains),
        "ttft": _ttft_lines(explanation, validation),
        "importances": _importance_lines(explanation),
        "neighbours": _neighbour_lines(explanation, plan.objectives),
        "limits": list(_limit_lines(explanation))[:MOST],
        "held out": _held_out_lines(plan),
        "extrapolated": _extrapolated_lines(plan),
        "measured": _measured_lines(validation) if validation else [],
    }
    return _fitting({name: list(_folded(lines)) for name, lines in sections.items()})


def _fitting(sections: dict[str, list[str]]) -> list[str]:
    over = sum(map(len, sections.values())) - LINES
    if over > 0:
        over += 1
        for name in SHORTENED:
            kept = max(0, len(sections[name]) - over)
            over -= len(sections[name]) - kept
            sections[name] = sections[name][:kept]
        sections["report"] = ["more in the report"]
    return [line for lines in sections.values() for line in lines][:LINES]


def _folded(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(
            line, COLUMNS, subsequent_indent=2 * GAP, break_on_hyphens=False
        ) or [line]


def _pieces(head: str, pieces: Iterable[str], gap: str = GAP) -> Iterator[str]:
    """Behind their head; what does not fit stands below, and no piece is torn that need not be."""
    line = head
    for piece in pieces:
        if len(line) + len(gap) + len(piece) > COLUMNS and line.strip():
            yield line
            line = " " * len(head)
        line += gap + piece
    yield line


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as what stands in them: the first to the left, others to the right.

    A row may end early, as where a plan says nothing of one schedule.
    """
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    for head, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False))
        yield GAP.join([head.ljust(widths[0]), *padded]).rstrip()


def _headed(entries: Mapping[str, Sequence[str]], gap: str = GAP) -> Iterator[str]:
    """Each name and its pieces, all of which begin in one column."""
    width = max(map(len, entries), default=0)
    for name, pieces in entries.items():
        yield from _pieces(f"{GAP}{name:<{width}}", pieces, gap)


def _choice_lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.scenario}: {describe_schedule(plan.named()['chosen'].schedule)}"
    yield (
        f"the best by {plan.objectives[0]} within the limits of {len(plan.candidates)} schedules "
        f"simulated, {len(plan.front)} of them on the front of {', '.join(plan.objectives)}"
    )


def _extrapolated_lines(plan: Plan) -> list[str]:
    found = plan.named()["chosen"].extrapolated
    return [f"extrapolated: {words}" for words in found[:MOST]]


def staircase_lines(timeline: Timeline, answer: str) -> Iterator[str]:
    """Tokens read of each source against tokens written, drawn with blocks."""
    steps = [(s.written, max(s.read, default=0)) for s in timeline.spans if s.agent == answer]
    wrote = max(timeline.written[answer], 1)
    most = max((read for _, read in steps), default=0) or 1
    columns = [_level(steps, column * wrote / WIDE) for column in range(WIDE)]
    margin = max(len(str(most)), 5)
    for row in range(TALL, 0, -1):
        label = str(most) if row == TALL else "read" if row == TALL - 1 else ""
        heights = (level / most * TALL - (row - 1) for level in columns)
        yield f"{label:>{margin}} │{''.join(map(_block, heights)).rstrip()}"
    yield f"{'':>{margin}} └{'─' * WIDE} {wrote} written"


def _level(steps: Sequence[tuple[int, int]], own: float) -> int:
    return max((read for written, read in steps if written <= own), default=0)


def _block(height: float) -> str:
    """A cell that is filled to ``height``, 0 to 1."""
    return " ▁▂▃▄▅▆▇█"[max(0, min(8, round(8 * height)))]


def _gain_lines(gains: Sequence[Gain]) -> Iterator[str]:
    rows = [["forecast", "choice"]]
    rows[0] += [words for name in BASELINES for words in (name, "choice has")]
    for name, group in groupby(gains[: MOST * len(BASELINES)], key=lambda gain: gain.figure):
        own, axis = list(group), Axis(parse_objective(name))
        row = [f"{name}{axis.unit}", number(own[0].value * axis.factor)]
        for gain in own:
            row += [number(gain.baseline_value * axis.factor), _saved(gain)]
        rows.append(row)
    return _aligned(rows)


def _saved(gain: Gain) -> str:
    """How much the choice has beside the baseline."""
    if gain.saved is None:
        return ""
    if abs(gain.saved) < LEAST_TOLD:
        return "as much"
    return f"{abs(gain.saved):.1%} {'more' if gain.saved < 0 else 'less'}"


def _ttft_lines(explanation: Explanation, validation: Validation | None) -> Iterator[str]:
    parts, bound = explanation.ttft["chosen"], explanation.bound["chosen"]
    measured = [row.ttft for row in validation.rows if row.name == "chosen"] if validation else []
    real = "".join(f", measured {number(one.ttft_s * 1000)}" for one in measured)
    yield (
        f"where TTFT goes, {number(parts.ttft_s * 1000)} ms{real} "
        f"(with nothing in the way {number(bound.ttft_s * 1000)}):"
    )
    roles = groupby(parts.parts, key=lambda part: part.role)
    yield from _headed(
        {
            role: [f"{part.phase} {number(part.mean_s * 1000)}" for part in group]
            for role, group in roles
        }
    )


def _importance_lines(explanation: Explanation) -> Iterator[str]:
    yield "what decides (share of each parameter):"
    found = {}
    for objective, shares in list(explanation.importances.items())[:MOST]:
        order = sorted(shares.items(), key=lambda entry: -entry[1])
        found[objective] = [f"{name} {share:.0%}" for name, share in order]
    yield from _headed(found)


def _neighbour_lines(explanation: Explanation, objectives: Sequence[str]) -> Iterator[str]:
    own = _figures(explanation.figures, objectives)
    yield f"one change around it: {' / '.join(objectives)} from {own} (! beyond a limit)"
    parameters = groupby(explanation.neighbours, key=lambda near: near.parameter)
    found = {name: [_neighbour(near, objectives) for near in group] for name, group in parameters}
    yield from _headed(found, gap=GAP + " ")


def _neighbour(near: Neighbour, objectives: Sequence[str]) -> str:
    return f"{near.value}: {_figures(near.figures, objectives)}{'' if near.keeps_limits else ' !'}"


def _figures(figures: Mapping[str, float], objectives: Sequence[str]) -> str:
    return " / ".join(
        number(figures[word] * Axis(parse_objective(word)).factor) for word in objectives
    )


def _limit_lines(explanation: Explanation) -> Iterator[str]:
    for use in explanation.limits:
        binds = f"keeps {use.excluded} better schedules out" if use.excluded else "does not bind"
        has = (
            "not known of the choice"
            if use.value is None
            else f"the choice has {number(use.value)}"
        )
        yield f"limit {use.words}: {has}; {binds}"


def _held_out_lines(plan: Plan) -> Iterator[str]:
    """Members of the front that are not chosen though they seem to be within the limits."""
    if plan.rejected:
        missed = dict.fromkeys(words for each in plan.rejected.values() for words in each)
        yield (
            f"not within the limits on held-out requests: {len(plan.rejected)} of "
            f"{len(plan.held_out)} of the front; {'; '.join(missed)}"
        )


def _measured_lines(validation: Validation) -> Iterator[str]:
    yield from validation.reading_lines
    for baseline in BASELINES:
        beating = [s.name for s in validation.comparisons if s.baseline == baseline and s.beats]
        words = f"beaten by {', '.join(beating)}" if beating else "on the front, nobody beats it"
        yield f"measured over {validation.requests} requests, {baseline}: {words}"
