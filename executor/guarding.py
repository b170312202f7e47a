"""A listener's fault must not end the thread that serves it and others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from executor.engine import CallReport, Key, Listener, RevisedListener

L = TypeVar("L", bound=Listener)


@dataclass(eq=False)
class Guarded(Generic[L]):
    """``listener``; its exception ends its call with an error, which it is told like any other.

    Attributes:
        cancel: of the engine.
    """

    listener: L
    cancel: Callable[[Key], None]
    fault: str | None = None

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self._guard(key, lambda: self.listener.on_token(key, token, time_ns))

    def _guard(self, key: Key, tell: Callable[[], None]) -> None:
        if self.fault:
            return
        try:
            tell()
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


@dataclass(eq=False)
class GuardedRevised(Guarded[RevisedListener]):
    """``listener`` of an input."""

    def on_revised(self, key: Key, standing: int, time_ns: int) -> None:
        self._guard(key, lambda: self.listener.on_revised(key, standing, time_ns))


def in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
