"""What readers of checked answers may rely on; the numbers are those of ``docs/invariants.md``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from simulator.unread import unread_of_timeline
from staircase import Barrier, Timeline
from tests.support.random_cases import RandomCase


def check_readers(case: RandomCase, lines: Sequence[Timeline]) -> None:
    """C1 what is settled is never taken back; C2 tokens are shown in order, and all in the end;
    C3 who checks until all is read has read all; C4 what was kept was there to be checked."""
    for line in lines:
        assert line.error is None
        if case.schedule.show == "settled" and not case.pipeline.inputs:
            assert line.retracted_tokens == 0, "C1"
        assert list(line.answer_ps) == sorted(line.answer_ps), "C2"
        assert len(line.answer_ps) == line.written[case.pipeline.answer], "C2"
        assert not line.answer_ps or line.answer_ps[-1] <= line.completed_ps, "C2"
        if case.schedule.checked is None and case.schedule.barrier == Barrier():
            _check_all_was_read(case, line)
        assert all(0 <= s.kept_tokens <= s.checked_tokens for s in line.spans), "C4"


def _check_all_was_read(case: RandomCase, line: Timeline) -> None:
    if case.schedule.without:
        return
    request = case.workload.requests[line.request]
    written = {agent.name: line.written[agent.name] for agent in case.pipeline}
    whole = replace(request, output_tokens={**request.output_tokens, **written})
    assert unread_of_timeline(case.pipeline, case.schedule, line, whole) == pytest.approx(0), "C3"
