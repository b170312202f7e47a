"""Other engines work while one is measured."""

from __future__ import annotations

import threading

import pytest

from executor.engine import EngineCall, Listener
from executor.inprocess.running_call import turn_away
from executor.measure.contention import kept_busy
from executor.measure.measurements import Target
from tests.support.scripted_engine import ScriptedEngine


class Failing(ScriptedEngine):
    """Serves a few calls and fails from then on."""

    served = 0

    def __init__(self) -> None:
        super().__init__(99, 0.0, 0.0)
        self.has_failed = threading.Event()

    def submit(self, call: EngineCall, listener: Listener) -> None:
        if self.served < 2:
            self.served += 1
            super().submit(call, listener)
            return
        turned_away = (call, listener, "broken")
        threading.Thread(target=self._turn_away, args=turned_away, daemon=True).start()

    def _turn_away(self, call: EngineCall, listener: Listener, error: str) -> None:
        turn_away(call, listener, error)
        self.has_failed.set()


def test_an_engine_that_stops_working_is_no_company() -> None:
    """What is measured beside it would be measured alone."""
    engine = Failing()
    target = Target(engine, lambda tokens: [5] * tokens, 64)
    with pytest.raises(RuntimeError, match="broken"), kept_busy([target]):
        assert engine.has_failed.wait(10)
