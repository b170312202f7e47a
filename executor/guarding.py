"""A fault of whoever listens must not end the thread that serves him and others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from executor.engine import CallReport, Key, Listener


@dataclass(eq=False)
class Guarded:
    """``listener``, whose exception ends its call: with an error, of which it is told as of others.

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
        """Who fails even here can be told nothing, so the fault is shown as any thread's is."""
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
