"""A plan explained in the terminal, in one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from planner.axis import Axis
from planner.breakdown import TtftParts
from planner.describing import describe_schedule
from planner.explanation import Explanation, Gain, Neighbour
from planner.measured_limits import limit_words
from planner.objectives import parse_objective
from planner.plans import Plan
from planner.standing import BASELINES
from planner.tables import number
from planner.validation import Validation
from staircase.timeline import Timeline

LINES, COLUMNS = 48, 100
# Of the staircase's picture, and at most so many lines of each list.
TALL, WIDE, MOST = 7, 72, 4


def explanation_lines(
    plan: Plan, explanation: Explanation, validation: Validation | None
) -> list[str]:
    """At most ``LINES`` of at most ``COLUMNS``."""
    chosen = plan.named()["chosen"]
    sections = [
        [
            f"{plan.scenario}: {describe_schedule(chosen.schedule)}",
            f"the best by {plan.objectives[0]} within the limits of {len(plan.candidates)} "
            "schedules simulated, "
            f"{len(plan.front)} of them on the front of {', '.join(plan.objectives)}",
        ],
        textwrap.wrap(f"Forecast. {explanation.reading.sentence}", COLUMNS),
        list(staircase_lines(explanation.timelines["chosen"], explanation.answer)),
        list(_gain_lines(explanation.gains)),
        list(_ttft_lines(explanation, validation)),
        list(_importance_lines(explanation)),
        list(_neighbour_lines(explanation, plan.objectives)),
        list(_limit_lines(explanation))[:MOST],
        list(_held_out_lines(plan)),
        [f"extrapolated: {words}" for words in chosen.extrapolated[:MOST]],
        list(_measured_lines(validation)) if validation else [],
    ]
    lines = [line for section in sections for line in section]
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in lines[:LINES]]


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
    yield f"{'forecast':<14}{'choice':>12}{'normal':>28}{'paper default':>28}"
    for name, group in groupby(gains[: MOST * len(BASELINES)], key=lambda gain: gain.figure):
        own, axis = list(group), Axis(parse_objective(name))
        cells = [f"{number(gain.baseline_value * axis.factor)} {_saved(gain)}" for gain in own]
        words = f"{name}{axis.unit}"
        yield f"{words:<14}{number(own[0].value * axis.factor):>12}" + "".join(
            f"{cell:>28}" for cell in cells
        )


def _saved(gain: Gain) -> str:
    """How much the choice has beside the baseline."""
    if gain.saved is None:
        return ""
    return f"(choice {abs(gain.saved):.1%} {'more' if gain.saved < 0 else 'less'})"


def _ttft_lines(explanation: Explanation, validation: Validation | None) -> Iterator[str]:
    parts, bound = explanation.ttft["chosen"], explanation.bound["chosen"]
    measured = [row.ttft for row in validation.rows if row.name == "chosen"] if validation else []
    real = "".join(f", measured {number(one.ttft_s * 1000)}" for one in measured)
    yield (
        f"where TTFT goes, {number(parts.ttft_s * 1000)} ms{real} "
        f"(with nothing in the way {number(bound.ttft_s * 1000)}):"
    )
    yield from _role_lines(parts)


def _role_lines(parts: TtftParts) -> Iterator[str]:
    for role, group in groupby(parts.parts, key=lambda part: part.role):
        words = [f"{part.phase} {number(part.mean_s * 1000)}" for part in group]
        yield f"  {role:<12}{'  '.join(words)}"


def _importance_lines(explanation: Explanation) -> Iterator[str]:
    yield "what decides (share of each parameter):"
    for objective, shares in list(explanation.importances.items())[:MOST]:
        order = sorted(shares.items(), key=lambda entry: -entry[1])
        yield f"  {objective:<12}" + "  ".join(f"{name} {share:.0%}" for name, share in order)


def _neighbour_lines(explanation: Explanation, objectives: Sequence[str]) -> Iterator[str]:
    own = _figures(explanation.figures, objectives)
    yield f"one change around it: {' / '.join(objectives)} from {own} (! beyond a limit)"
    for parameter, group in groupby(explanation.neighbours, key=lambda near: near.parameter):
        words = [_neighbour(near, objectives) for near in group]
        yield f"  {parameter:<8}{'   '.join(words)}"


def _neighbour(near: Neighbour, objectives: Sequence[str]) -> str:
    return f"{near.value}: {_figures(near.figures, objectives)}{'' if near.keeps_limits else ' !'}"


def _figures(figures: Mapping[str, float], objectives: Sequence[str]) -> str:
    return " / ".join(
        number(figures[word] * Axis(parse_objective(word)).factor) for word in objectives
    )


def _limit_lines(explanation: Explanation) -> Iterator[str]:
    for use in explanation.limits:
        binds = f"keeps {use.excluded} better schedules out" if use.excluded else "does not bind"
        yield f"limit {use.words}: the choice has {_known(use.value)}; {binds}"


def _held_out_lines(plan: Plan) -> Iterator[str]:
    """Members of the front that are not chosen though they seem to be within the limits."""
    if plan.rejected:
        missed = dict.fromkeys(words for each in plan.rejected.values() for words in each)
        yield (
            f"not within the limits on held-out requests: {len(plan.rejected)} of "
            f"{len(plan.held_out)} of the front; {'; '.join(missed)}"
        )


def _known(value: float | None) -> str:
    return "–" if value is None else number(value)


def _measured_lines(validation: Validation) -> Iterator[str]:
    yield from textwrap.wrap(f"Measured. {validation.reading.sentence}", COLUMNS)
    yield from (f"limit {limit_words(one)}" for one in validation.limits if one.name == "chosen")
    for baseline in BASELINES:
        beating = [s.name for s in validation.standings if s.baseline == baseline and s.beats]
        words = f"beaten by {', '.join(beating)}" if beating else "on the front, nobody beats it"
        yield f"measured over {validation.requests} requests, {baseline}: {words}"
