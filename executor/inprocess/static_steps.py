"""Decode steps of fixed shapes, which a CUDA graph repeats without Python's and the launches' cost.

A step covers the first B slots, B and the window W rounded up, so that few shapes serve all. Rows
that have nothing to decode run along: they write behind what their slot holds, where it does not
count. On a CPU, and where a model cannot be captured, a step runs as it is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 3
LEAST_WINDOW = 256

# Tokens [B], positions [B] and W: the next tokens [B] or their logits [B, V], the keys and values
# written.
Forward = Callable[[Tensor, Tensor, int], Tensor]


def rounded_up(count: int, least: int, most: int) -> int:
    """The power of two from ``least`` on that holds ``count``, but at most ``most``."""
    size = least
    while size < count:
        size *= 2
    return min(size, most)


class StaticStep:
    """One shape: its inputs lie in the same place at every run."""

    def __init__(self, forward: Forward, rows: int, window: int, device: torch.device) -> None:
        self._forward = forward
        self._window = window
        self._inputs = torch.zeros(2, rows, dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._output = torch.zeros(0)
        self._is_eager = device.type != "cuda"

    @property
    def is_graph(self) -> bool:
        return self._graph is not None

    def run(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        self._inputs.copy_(torch.tensor([tokens, positions]))
        if not self._graph and not self._is_eager:
            self._try_to_capture()
        if not self._graph:
            return self._compute()
        self._graph.replay()
        return self._output.clone()

    def _compute(self) -> Tensor:
        return self._forward(self._inputs[0], self._inputs[1], self._window)

    def _try_to_capture(self) -> None:
        """The runs before it write the same keys and values as the one that counts."""
        try:
            side = torch.cuda.Stream(self._inputs.device)  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream(self._inputs.device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self._compute()
            torch.cuda.current_stream(self._inputs.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other engines may use the GPU from other threads meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._output = self._compute()
            self._graph = graph
        except RuntimeError as error:
            warnings.warn(f"decoding without a CUDA graph: {error}", RuntimeWarning, stacklevel=2)
            self._is_eager = True


class StaticSteps:
    """The steps of a model over ``slots`` slots, made when they are first needed."""

    def __init__(self, forward: Forward, slots: int, device: torch.device) -> None:
        self._forward = forward
        self._slots = slots
        self._device = device
        self._steps: dict[tuple[int, int], StaticStep] = {}
        # By slot: behind everything that was ever written there.
        self._ends = [0] * slots

    @property
    def graphs(self) -> int:
        """How many of them are CUDA graphs by now."""
        return sum(step.is_graph for step in self._steps.values())

    def forget(self) -> None:
        """The slots have moved in memory, and graphs know only where they were."""
        self._steps.clear()

    def note(self, slot: int, stop: int) -> None:
        """The positions of ``slot`` below ``stop`` are written."""
        self._ends[slot] = max(self._ends[slot], stop)

    def decode(
        self, slots: Sequence[int], positions: Sequence[int], tokens: Sequence[int], most: int
    ) -> Tensor:
        """Runs ``tokens`` [B], one in each of ``slots``; windows have at most ``most`` tokens."""
        rows = rounded_up(slots[-1] + 1, 1, self._slots)
        all_positions, all_tokens = self._ends[:rows], [0] * rows
        for slot, position, token in zip(slots, positions, tokens, strict=True):
            all_positions[slot], all_tokens[slot] = position, token
            self.note(slot, position + 1)
        window = rounded_up(max(positions) + 1, LEAST_WINDOW, most)
        return self._step(rows, window).run(all_tokens, all_positions)[list(slots)]

    def _step(self, rows: int, window: int) -> StaticStep:
        if (rows, window) not in self._steps:
            self._steps[rows, window] = StaticStep(self._forward, rows, window, self._device)
        return self._steps[rows, window]
