"""Wrong input on the command line: no traceback, no hang, one line that says what is wrong."""

from __future__ import annotations

import pytest

from tests.support.fuzz import fuzz

CASES = 1000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wrong_input_is_told() -> None:
    """``python -m tests.support.fuzz`` plays 10,000, and others with ``--seed``."""
    seen, faults = fuzz(range(CASES), seed=0)
    assert not faults, "\n".join(faults)
    assert sum(count for ended, count in seen.items() if ended.endswith(": 0")) > CASES / 10
