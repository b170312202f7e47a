"""What an engine says of calls that run together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from executor.engine import CallReport, Engine, EngineCall, Key

PATIENCE_S = 120.0


@dataclass
class CallRecorder:
    """A listener of calls with the numbers 0, 1, … ; by call, what it got.

    Attributes:
        on_begun: is called once, when every call has a token.
    """

    calls: int
    on_begun: Callable[[], object] = lambda: None
    times_ns: list[list[int]] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    reports: dict[int, CallReport] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.times_ns = [[] for _ in range(self.calls)]
        self.tokens = [[] for _ in range(self.calls)]

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.times_ns[key[1]].append(time_ns)
        self.tokens[key[1]].append(token)
        if len(self.times_ns[key[1]]) == 1 and all(self.times_ns):
            self.on_begun()

    def on_end(self, key: Key, report: CallReport) -> None:
        self.reports[key[1]] = report
        if len(self.reports) == self.calls:
            self.done.set()

    def wait(self) -> None:
        """Until all calls have ended.

        Raises:
            RuntimeError: one failed, or takes too long.
        """
        if not self.done.wait(PATIENCE_S):
            raise RuntimeError(f"no answer within {PATIENCE_S:.0f} s")
        for report in self.reports.values():
            if report.error:
                raise RuntimeError(report.error)

    def joint_times_ns(self) -> list[int]:
        """Of the first call's tokens, while all calls decode."""
        if not all(self.times_ns):
            return []
        start = max(times[0] for times in self.times_ns)
        stop = min(times[-1] for times in self.times_ns)
        return [ns for ns in self.times_ns[0] if start <= ns <= stop]

    def joint_gaps_s(self) -> list[float]:
        """Between those. Where several tokens came at once, their mean is all that is known."""
        times = self.joint_times_ns()
        gaps = [(after - before) / 1e9 for before, after in pairwise(times)]
        return gaps if all(gaps) else [sum(gaps) / len(gaps)]


def begin(
    engine: Engine,
    prompts: Sequence[list[int]],
    tokens: int,
    on_begun: Callable[[], object] = lambda: None,
    pass_tokens: int = 1,
) -> CallRecorder:
    """Submits a call for each prompt; every one writes ``tokens``.

    Args:
        pass_tokens: that each pass computes of a call.
    """
    recorder = CallRecorder(len(prompts), on_begun)
    for number, prompt in enumerate(prompts):
        # Differs from the keys of others that wait for the same engine.
        key = id(recorder), number
        call = EngineCall(
            key, prompt, tokens, ignore_end=True, is_measured=True, pass_tokens=pass_tokens
        )
        engine.submit(call, recorder)
    return recorder


def serve(
    engine: Engine, prompts: Sequence[list[int]], tokens: int, pass_tokens: int = 1
) -> CallRecorder:
    """The same, waited for."""
    recorder = begin(engine, prompts, tokens, pass_tokens=pass_tokens)
    recorder.wait()
    return recorder
