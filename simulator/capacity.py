"""Capacity: the highest request rate at which enough requests keep their latency limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from staircase.metrics.measured import Measured
from staircase.metrics.run_metrics import RunMetrics, Slo, measure_runs

# The search ends when the rates that do and do not meet the limits are so close.
TOLERANCE = 0.01
# The lowest and highest rates that are tried, requests a second.
LEAST, MOST = 1e-4, 1e5


@dataclass(frozen=True)
class Trial:
    """A rate, and how the requests fared at it."""

    rate_per_s: float
    run: RunMetrics


@dataclass(frozen=True)
class Capacity:
    """The highest rate found to meet the limits; None if even the lowest does not.

    Attributes:
        trials: every rate that was tried, rising.
        is_bound: whether a higher rate was seen to fail.
    """

    rate_per_s: float | None
    trials: Sequence[Trial]
    is_bound: bool


@dataclass(frozen=True)
class CapacitySearch:
    """Doubles the rate until fewer than ``share`` of the requests keep ``slo``, then halves in.

    Attributes:
        play: runs at a rate, of the same requests closer together or further apart.
        least: at lower rates they would be too far apart to be played.
    """

    play: Callable[[float], Sequence[Measured]]
    slo: Slo
    share: float
    least: float = LEAST
    on_trial: Callable[[], None] = lambda: None
    _trials: list[Trial] = field(default_factory=list)

    def find(self, rate: float) -> Capacity:
        """Begins at ``rate``."""
        good, bad = self._bracket(rate)
        while good and bad and bad / good > 1 + TOLERANCE:
            middle = (good * bad) ** 0.5
            good, bad = (middle, bad) if self._meets(middle) else (good, middle)
        trials = sorted(self._trials, key=lambda trial: trial.rate_per_s)
        return Capacity(good, trials, bad is not None)

    def _bracket(self, rate: float) -> tuple[float | None, float | None]:
        """A rate that meets the limits and one that does not, as far as there are such."""
        if self._meets(rate):
            while rate < MOST:
                if not self._meets(2 * rate):
                    return rate, 2 * rate
                rate *= 2
            return rate, None
        while rate / 2 >= self.least:
            if self._meets(rate / 2):
                return rate / 2, rate
            rate /= 2
        return None, rate

    def _meets(self, rate: float) -> bool:
        run = measure_runs(self.play(rate), self.slo)
        self._trials.append(Trial(rate, run))
        self.on_trial()
        return run.good_share >= self.share
