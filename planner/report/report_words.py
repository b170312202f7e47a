"""The report's sentences: what the choice saves, what limits cost, what beats what."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from planner.figures.axis import Axis
from planner.figures.json_pointers import Figures, place_of
from planner.figures.objectives import parse_objective
from planner.report.report_tables import EXPLANATION
from planner.results.comparison import BASELINES
from planner.results.explanation import Explanation
from planner.results.plans import Plan
from planner.results.validation import LEFT_OUT, LIKELIHOOD, Validation


def gains_of(figures: Figures, explanation: Explanation) -> Iterator[tuple[Markup, Markup]]:
    """What the choice saves of each baseline's first figure, and beside what.

    An end of an interval is what to choose by, its mean what to expect.
    """
    first = parse_objective(explanation.gains[0].figure)
    told = first.word if first.is_of_mean else first.name
    for number, gain in enumerate(explanation.gains):
        if gain.figure == told and gain.saved is not None:
            keys = (*EXPLANATION, "gains", number)
            objective = parse_objective(gain.figure)
            what = Axis(objective).label
            if objective.statistic != "mean":
                what = figures.html(place_of(*keys, "figure"))
            yield _saved(figures, keys, gain.saved, objective.word, what, gain.baseline, "forecast")


def measured_gain(figures: Figures, validation: Validation) -> tuple[Markup, Markup]:
    """The same of the mean smooth start as measured, beside normal's."""
    keys, saved = ("validation", "reading"), validation.reading.saved
    return _saved(figures, keys, saved, "smooth_start", "smooth start", "normal", "measured")


def _saved(
    figures: Figures,
    keys: tuple[str | int, ...],
    saved: float,
    word: str,
    what: str,
    baseline: str,
    kind: str,
) -> tuple[Markup, Markup]:
    """A share without its sign, which is told in words."""
    share = figures.html(
        place_of(*keys, "saved", factor=-100 if saved < 0 else 100), template="{} %"
    )
    more, less = ("later", "earlier") if word == "smooth_start" else ("more", "less")
    said = Markup("{} {} than {}, {}").format(more if saved < 0 else less, what, baseline, kind)
    return share, said


def worst_answers(figures: Figures, validation: Validation) -> Iterator[dict[str, Markup]]:
    """Of each schedule the answer with most faults as a text, what was asked, and the faults."""
    for number, row in enumerate(validation.rows):
        keys = ("validation", "rows", number)
        if row.worst is not None:
            faults = [place_of(*keys, "worst", "faults", n) for n in range(len(row.worst.faults))]
            yield {
                "name": figures.html(place_of(*keys, "name")),
                "question": figures.html(place_of(*keys, "worst", "question")),
                "answer": figures.html(place_of(*keys, "worst", "answer")),
                "faults": figures.html(*faults, template="; ".join(["{}"] * len(faults))),
            }


def sample_answers(
    figures: Figures, validation: Validation
) -> Iterator[tuple[Markup, list[tuple[str, Markup]]]]:
    """A few questions, each with what was answered under normal and under the choice."""
    for number in range(len(validation.samples)):
        keys = ("validation", "samples", number)
        answers = [
            (name, figures.html(place_of(*keys, "answers", name))) for name in ("normal", "chosen")
        ]
        yield figures.html(place_of(*keys, "question")), answers


def limit_rows(figures: Figures, explanation: Explanation) -> list[Markup]:
    """Each limit: what the choice has, and what it costs."""
    lines = []
    for number, limit in enumerate(explanation.limits):
        keys = (*EXPLANATION, "limits", number)
        words, value, excluded = (place_of(*keys, k) for k in ("words", "value", "excluded"))
        line = figures.html(words, value, template="{}: the choice has {}")
        if limit.value is None:
            line = figures.html(words, template="{}: not known of the choice")
        binds = figures.html(excluded, template="; keeps {} better schedules out")
        lines.append(line + (binds if limit.excluded else Markup("; keeps nothing better out")))
    return lines


def measured_limit_rows(figures: Figures, validation: Validation) -> list[Markup]:
    """Every limit of every schedule that was run."""
    lines = []
    for number, limit in enumerate(validation.limits):
        keys = ("validation", "limits", number)
        places = [place_of(*keys, name) for name in ("limit", "name", "value")]
        if limit.value is None:
            lines.append(figures.html(*places[:2], template=f"{{}}: {{}} {limit.verdict}"))
            continue
        line = figures.html(*places, template="{}: {} has {}")
        verdict = f"<b>{limit.verdict}</b>" if limit.is_kept is False else limit.verdict
        lines.append(line + Markup(f", {verdict}"))
    return lines


def held_out_rows(figures: Figures, plan: Plan) -> list[Markup]:
    """What members of the front miss on held-out requests, each limit once."""
    lines = {}
    for place, one in enumerate(plan.held_out):
        for number in range(len(one.missed)):
            words = figures.html(place_of("plan", "held_out", place, "missed", number))
            lines[words] = Markup("not chosen, on held-out requests {}: schedule {}").format(
                words, figures.html(place_of("plan", "held_out", place, "number"))
            )
    return list(lines.values())


def comparison_rows(
    figures: Figures, explanation: Explanation, validation: Validation
) -> list[Markup]:
    """Who beats each baseline in measured runs, in words."""
    lines = []
    for baseline in BASELINES:
        own = [(n, s) for n, s in enumerate(validation.comparisons) if s.baseline == baseline]
        beating = [
            figures.html(place_of("validation", "comparisons", number, "name"))
            for number, one in own
            if one.beats
        ]
        chosen = [_comparison(figures, number) for number, one in own if one.name == "chosen"]
        verdict = Markup("beaten by {}").format(Markup(", ").join(beating))
        if not beating:
            verdict = Markup("on the measured front: no validated schedule beats it")
        beyond = "" if explanation.keeps_limits[baseline] else " (beyond the plan's limits)"
        lines.append(Markup("<b>{}</b>{}: {}. {}").format(baseline, beyond, verdict, *chosen))
    return lines


def shortfall_rows(figures: Figures, validation: Validation) -> list[Markup]:
    """Which agents' texts measured answers lack, in words."""
    lines = []
    for number, row in enumerate(validation.rows):
        name = figures.html(place_of("validation", "rows", number, "name"))
        for place, one in enumerate(row.shortfalls):
            keys = ("validation", "rows", number, "shortfalls", place)
            answers, agent, why = (place_of(*keys, key) for key in ("answers", "agent", "why"))
            words = figures.html(answers, "validation/requests", agent, why, template=one.template)
            lines.append(Markup("<b>{}</b>: {}").format(name, words))
    return lines


def likelihood_rows(figures: Figures, validation: Validation) -> list[Markup]:
    """Whose opinion the likelihood is, and which answers have none, in words."""
    lines = []
    if validation.likelihood_by:
        words = figures.html("validation/likelihood_by", template=LIKELIHOOD)
        lines.append(Markup("<b>log-likelihood</b>: {}").format(words))
    for number, row in enumerate(validation.rows):
        keys = ("validation", "rows", number)
        name = figures.html(place_of(*keys, "name"))
        for place in range(len(row.left_out)):
            answers, why = (place_of(*keys, "left_out", place, key) for key in ("answers", "why"))
            words = figures.html(answers, "validation/requests", why, template=LEFT_OUT)
            lines.append(Markup("<b>{}</b>: {}").format(name, words))
    return lines


def _comparison(figures: Figures, number: int) -> Markup:
    keys = ("validation", "comparisons", number)
    said = []
    for kind in ("better", "worse", "tied"):
        count = len(figures.value(place_of(*keys, kind)))
        words = [figures.html(place_of(*keys, kind, n)) for n in range(count)]
        if words:
            said.append(Markup("{} in {}").format(kind, Markup(", ").join(words)))
    return Markup("The choice is {}.").format(Markup("; ").join(said) if said else "not comparable")
