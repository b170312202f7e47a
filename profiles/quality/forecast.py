"""What a schedule costs in quality, forecast from the surfaces of a quality profile.

    v(t)   the most that was shown of any source when own token t was written
    m(t)   how much is missing of the others: Σ_i (1 − read_i / min(v, length_i)), in sources
    n(t)   in how many rounds that was read
    f(t)   F(v(t), t) + m(t)·(F°(v(t), t) − F(v(t), t)) for each figure F of the profile; with Fⁿ(t)
           where rounds are appended: losses are added, shares that agree multiplied

A schedule's forecast loss is the mean of its f over t and over the sampled requests. Between read
levels F is linear; a staircase that reads all of everything before it writes has loss 0 by
definition. Two things are common to all samples. The mean surface must not rise with the read
level, nor be below 0, which happens by chance, and interleaved because what interruptions cost is
taken off: where it does, isotonic regression says what is added to every sample's (Barlow et al.
1972). And F° − F is the mean over the samples that left a source out; that k missing sources cost k
times one is an assumption, within what reading nothing at all costs. That rounds cost the same
whatever of the text was read in them is one more. Interleaved, each token before
which the text was interrupted costs what interruptions there cost on average. Schedules that were
played when the profile was made say what is still to be multiplied
(``profiles.quality.calibration``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from profiles.quality.calibration import Calibration, disagreement_calibration, loss_calibration
from profiles.quality.profile import QualityProfile
from profiles.quality.reading import read_along
from profiles.quality.score_fit import ScoreFit, forecast_score
from profiles.quality.surfaces import Figure, FigureSurfaces
from staircase.metrics.request_metrics import Summary, summarize
from staircase.timeline import Timeline


@dataclass(frozen=True)
class QualityForecast:
    """Loss in nats a token, and agreement with full reading (1 is full), each with its interval.

    Attributes:
        score: of the task; None where the profile has no fit of it.
    """

    loss: Summary
    agreement: Summary
    score: Summary | None = None

    def of_other_requests(self) -> QualityForecast:
        """With intervals of means over as many other requests."""
        score = self.score and self.score.of_other_requests()
        return QualityForecast.possible(
            self.loss.of_other_requests(), self.agreement.of_other_requests(), score
        )

    @staticmethod
    def possible(loss: Summary, agreement: Summary, score: Summary | None) -> QualityForecast:
        """Never better than having read everything.

        What is common to all samples may carry the figures of few beyond, and interruptions that
        cost less than nothing, by chance, do so too.
        """
        return QualityForecast(loss.within(0.0, inf), agreement.within(-inf, 1.0), score)


@dataclass(frozen=True)
class SampleForecast:
    """Of one sample, before any calibration.

    Attributes:
        rounds_loss, rounds_disagreement: what appended rounds cost of it.
    """

    loss: float
    agreement: float
    rounds_loss: float
    rounds_disagreement: float


class QualityForecaster:
    """Forecasts of one profile."""

    def __init__(self, profile: QualityProfile) -> None:
        self._profile = profile
        self._surfaces: dict[tuple[str, str, Figure], FigureSurfaces] = {}
        self._score_fit = ScoreFit.of(profile.played)

    def __call__(self, timelines: Sequence[Timeline], layout: str) -> QualityForecast:
        """Of the schedule that ``timelines`` played, one of them per sample in turn.

        With several reading agents, losses add up and agreements multiply: an assumption that
        treats their errors as independent.

        Raises:
            ProfileError: the profile does not know the layout.
        """
        count = len(self._profile.samples)
        found = [self.of_sample(line.request % count, line, layout) for line in timelines]
        played = self._profile.played
        losses = [(one.loss, one.rounds_loss) for one in found]
        shares = [(1 - one.agreement, one.rounds_disagreement) for one in found]
        loss = _calibrated(losses, loss_calibration(played, layout))
        agreement = _mirrored(_calibrated(shares, disagreement_calibration(played, layout)))
        fit = self._score_fit
        score = forecast_score(fit, agreement, layout) if fit else None
        return QualityForecast.possible(loss, agreement, score)

    def of_sample(self, number: int, line: Timeline, layout: str) -> SampleForecast:
        """Of one sample that was so played."""
        sample = self._profile.samples[number]
        loss, flat_loss, agreement, flat_agreement = 0.0, 0.0, 1.0, 1.0
        for agent, sources in self._profile.sources.items():
            lengths = [sample.output_tokens[source] for source in sources]
            reading = read_along(line, agent, sample.output_tokens[agent], lengths)
            # Who has read everything before it writes loses nothing, by definition.
            if len(reading.levels) and (reading.levels[0] < max(lengths) or reading.missing[0] > 0):
                more, flat = self._of(agent, layout, "loss").mean_along(number, reading)
                loss, flat_loss = loss + more, flat_loss + flat
                share, flat = self._of(agent, layout, "agreement").mean_along(number, reading)
                agreement, flat_agreement = agreement * share, flat_agreement * flat
        return SampleForecast(loss, agreement, loss - flat_loss, flat_agreement - agreement)

    def _of(self, agent: str, layout: str, figure: Figure) -> FigureSurfaces:
        key = (agent, layout, figure)
        if key not in self._surfaces:
            self._surfaces[key] = FigureSurfaces(self._profile, *key)
        return self._surfaces[key]


def _calibrated(costs: Sequence[tuple[float, float]], calibration: Calibration) -> Summary:
    """Of costs by request, each with what rounds cost of it."""
    return calibration.widened(
        summarize([calibration.corrected(cost, rounds) for cost, rounds in costs])
    )


def _mirrored(share: Summary) -> Summary:
    """Of the agreement the disagreement, and back."""
    p50, p90, p99 = (1 - value for value in (share.p50, share.p90, share.p99))
    return Summary(1 - share.mean, 1 - share.high, 1 - share.low, p50, p90, p99)
