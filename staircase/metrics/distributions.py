"""Distributions of figures as a few quantiles each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staircase.metrics.measured import measure_all
from staircase.timeline import Timeline

# From the least to the largest value, in steps of 2.5 percent.
SHARES = np.linspace(0, 1, 41)


def distributions(timelines: Sequence[Timeline]) -> dict[str, tuple[float, ...]]:
    """Quantiles at ``SHARES``, in seconds: TTFT over requests, ITL over all gaps between tokens.

    Nothing of a figure that no request has.
    """
    measured = measure_all(timelines)
    gaps_s = [np.zeros(0), *measured.gaps_s]
    values = {"ttft_s": measured.columns["ttft_s"], "itl_s": np.concatenate(gaps_s)}
    known = {name: data[~np.isnan(data)] for name, data in values.items()}
    return {
        name: tuple(map(float, np.quantile(data, SHARES)))
        for name, data in known.items()
        if len(data)
    }
