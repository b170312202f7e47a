"""A listener's fault must not end the thread that serves it and others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from executor.engine import CallReport, Key, Listener


@dataclass(eq=False)
class Guarded:
    """``listener``; its exception ends its call with an error, which it is told like any other.

    Attributes:
        cancel: of the engine.
    """

    listener: Listener
    cancel: Callable[[Key], None]
    fault: str | None = None

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        if self.fault:
            return
        try:
            self.listener.on_token(key, token, time_ns)
        except Exception as error:  # anybody may listen
            self.fault = in_words(error)
            self.cancel(key)

    def on_end(self, key: Key, report: CallReport) -> None:
        """A listener that fails even here cannot be told: the fault is shown like any thread's."""
        if self.fault:
            report = replace(report, reason="cancelled", error=self.fault)
        try:
            self.listener.on_end(key, report)
        except Exception:  # anybody may listen
            kind, error, trace = sys.exc_info()
            assert kind is not None
            thread = threading.current_thread()
            threading.excepthook(threading.ExceptHookArgs((kind, error, trace, thread)))


def in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
