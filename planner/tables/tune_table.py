"""What a tuning came to, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from planner.figures.describing import describe_schedule
from planner.figures.number_format import number
from planner.tuning.tuning_rounds import Tuned, TuningEffort, TuningRound
from profiles.latency.tuning import Correction

COLUMNS = ("untuned", "tuned", "at pace", "measured", "error")


def round_table(round_: TuningRound) -> Table:
    """TTFT by schedule."""
    found = round_.evaluated
    title = (
        f"Round {found.number}: TTFT in ms over {found.requests} fresh requests, "
        f"pace {found.pace:.2f}"
    )
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1))
    table.add_column("")
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("schedule", overflow="ellipsis", no_wrap=True)
    for row in round_.rows:
        seconds = (row.untuned_s, row.tuned_s, row.at_pace_s, row.measured_s)
        error = f"{row.at_pace_s / row.measured_s - 1:+.1%}"
        cells = [number(1e3 * one) for one in seconds]
        table.add_row(row.name, *cells, error, describe_schedule(row.candidate.schedule))
    return table


def round_line(round_: TuningRound) -> str:
    found = round_.evaluated
    return (
        f"median error over {found.schedules} schedules: untuned {found.untuned:.1%}, "
        f"tuned before the runs {found.tuned:.1%}, tuned at their pace {found.at_pace:.1%}"
    )


def verdict_line(tuned: Tuned, effort: TuningEffort) -> str:
    if not tuned.rounds:
        return "the budget was used before three turns were played: nothing was judged"
    last = tuned.rounds[-1].evaluated
    words = {
        "agreed": f"forecast and measurement agree within {effort.tolerance:.1%} on runs that no "
        f"correction had seen, after {last.number} of {effort.rounds} rounds",
        "rounds used": f"all {effort.rounds} rounds are used; the last error, {last.at_pace:.1%}, "
        f"is above {effort.tolerance:.1%}; corrections fitted since were not judged",
        "budget used": f"the budget is used after {last.number} rounds; the last error, "
        f"{last.at_pace:.1%}, is above {effort.tolerance:.1%}; corrections fitted since were not "
        "judged",
    }
    return words[tuned.verdict]


def correction_lines(tuned: Tuned) -> Iterator[str]:
    """What the measured profile was corrected by, once for engines with the same."""
    tuning = tuned.latency.tuning
    assert tuning
    corrections = tuning.corrections
    for one in dict.fromkeys(corrections.values()):
        names = ", ".join(name for name, other in corrections.items() if other == one)
        yield f"{names}: {correction_words(one)}"
    yield (
        f"for the pace {tuning.pace:.2f} of the last round, over 1 when the profile was measured"
    )


def correction_words(one: Correction) -> str:
    return (
        f"prefill × {one.prefill:.3f}, decode × {one.decode:.3f}, "
        f"in turn with others × {one.contention:.3f}, {number(1e3 * one.call_s)} ms a call"
    )
