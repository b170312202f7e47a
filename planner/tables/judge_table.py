"""What ``staircase judge`` prints."""

from __future__ import annotations

import math

from rich.table import Table

from planner.evaluation.judging import Judgement
from planner.evaluation.win_rate import Rate, WinRates

RATES = {
    "win_rate": "win rate",
    "arena_hard": "Arena-Hard (much better counts 3)",
    "length_controlled": "length-controlled",
}
FATES = {
    "verdict": "verdicts",
    "identical": "identical answers, not asked",
    "refusal": "refusals of the judge",
    "unparsable": "replies without one clear verdict",
    "failed": "failed calls",
}


def rates_table(rates: WinRates) -> Table:
    table = Table(title="The candidate against the baseline", title_justify="left")
    for column in ("", "%", "90 % interval"):
        table.add_column(column, justify="right" if column else "left")
    for name, words in RATES.items():
        rate: Rate = getattr(rates, name)
        table.add_row(words, _percent(rate.value), f"{_percent(rate.low)} – {_percent(rate.high)}")
    return table


def count_lines(judgement: Judgement) -> list[str]:
    """Everything that was counted, in words: nothing is left out silently."""
    answers, rates = judgement.answers, judgement.rates
    fates = ", ".join(f"{rates.fates[name]} {words}" for name, words in FATES.items())
    return [
        f"{rates.judged} of {rates.pairs} pairs judged in both orders: {rates.wins} wins, "
        f"{rates.ties} ties, {rates.losses} losses; {rates.inconsistent} turned with the order "
        "(they count as ties)",
        f"{sum(rates.fates.values())} games: {fates}",
        f"not compared: {answers.baseline_only} requests that only the baseline answered, "
        f"{answers.candidate_only} only the candidate, {answers.unanswered} neither",
        f"the answer that stood first won {_percent(rates.first_wins)} % of the games; "
        f"length effect {_number(rates.length_effect)} (above 0: longer ones are preferred)",
    ]


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share * 100:.1f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"
