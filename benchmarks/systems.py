"""Systems that change the decode rate, as transforms: what they publish beside what follows.

    python -m benchmarks.systems

*Restated*: the transform with what the paper says gives its figure, which is a quotient of others
of its own. *Cross-checked*: one published figure fixes the parameter that is not published, and
another follows. *Implied*: the parameter that the published figure needs, which the facts at hand
do not say; nothing is reproduced by that. docs/systems.md has the sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq

from profiles.hardware.gpus import HARDWARE
from profiles.hardware.known_models import SHAPES
from profiles.hardware.roofline import Roofline
from profiles.hardware.transforms import Widened, factors_of
from staircase.spec.transform_spec import (
    EarlyExitSpec,
    MultiTokenSpec,
    SpeculativeSpec,
    TransformSpec,
)


@dataclass(frozen=True)
class SystemRow:
    system: str
    published: str
    found: str
    how: str

    @property
    def cells(self) -> tuple[str, ...]:
        return self.system, self.published, self.found, self.how


def speed_up(transform: TransformSpec, widened: Widened = lambda _: 1.0) -> float:
    """Of one sequence without context; a pass over more positions takes as long, if not said."""
    return 1 / factors_of(transform, 1, widened).dense


def needed(speed_up_at: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The parameter between ``low`` and ``high`` at which the speed-up is ``target``."""
    return float(brentq(lambda value: speed_up_at(value) - target, low, high))


def dparallel() -> Iterator[SystemRow]:
    """A pass over the block costs the same in both: the model has no cache."""
    for task, passes, published in (("GSM8K", 30, 8.5), ("MBPP", 24, 10.5)):
        found = speed_up(MultiTokenSpec(kind="multi_token", tokens_per_step=256 / passes))
        words = f"{task}: 256 to {passes} passes, {published}x"
        yield SystemRow("dParallel", words, f"{found:.2f}x", "restated")


def cosine() -> Iterator[SystemRow]:
    """Drafting moves beside checking; the round's yield cancels out."""
    draft = needed(_overlap_gain, 1 / (1 - 0.232), 0.0, 1.0)
    gain = _overlap_gain(draft) - 1
    found = f"+{gain:.1%} with drafting at {draft:.2f} of a check"
    yield SystemRow("CoSine", "latency -23.2 %, throughput +32.5 %", found, "cross-checked")


def _overlap_gain(draft: float) -> float:
    """Overlapped over serial rounds whose drafts take ``draft`` of a check."""

    def rate(overlapped: bool) -> float:
        spec = SpeculativeSpec(
            kind="speculative",
            draft_tokens=1,
            tokens_per_round=1.5,
            draft_cost=draft,
            overlapped=overlapped,
        )
        return speed_up(spec)

    return rate(True) / rate(False)


def faser() -> Iterator[SystemRow]:
    draft = needed(_overlap_gain, 1.92, 0.0, 1.0)
    found = f"drafting takes {draft:.2f} of a check; overlap alone gives at most 2x"
    yield SystemRow("FASER", "latency up to 1.92x lower", found, "implied")


def mirror() -> Iterator[SystemRow]:
    """With drafting hidden, the speed-up is the round's yield."""
    draft = needed(_overlap_gain, 1.30, 0.0, 1.0)
    for target in (2.8, 5.8):
        accepted = needed(_hidden, target, 0.0, 0.9999)
        found = f"acceptance {accepted:.2f} of 8 drafts, hidden"
        yield SystemRow("Mirror-SD", f"{target}x", found, "implied")
    found = f"drafting takes {draft:.2f} of a check in what it is compared to"
    yield SystemRow("Mirror-SD", "30 % over EAGLE-3", found, "implied")


def _hidden(acceptance: float) -> float:
    spec = SpeculativeSpec(
        kind="speculative", draft_tokens=8, acceptance=acceptance, draft_cost=0.1, overlapped=True
    )
    return speed_up(spec)


def dmtd() -> Iterator[SystemRow]:
    """One pass, then three more tokens through a share of the layers."""

    def at(late: float) -> float:
        spec = MultiTokenSpec(kind="multi_token", tokens_per_step=4, step_cost=1 + 3 * late)
        return speed_up(spec)

    share = needed(at, 2.0, 0.01, 0.99)
    found = f"{share:.2f} of the layers are late: {share * 36:.0f} of 36"
    yield SystemRow("Direct Multi-Token Decoding", "cycle of 4, up to 2x", found, "implied")


def apparate() -> Iterator[SystemRow]:
    for cut in (0.226, 0.779):

        def at(depth: float) -> float:
            return speed_up(EarlyExitSpec(kind="early_exit", share=1.0, depth=depth))

        depth = needed(at, 1 / (1 - cut), 0.01, 1.0)
        words = f"median time per token -{cut:.1%}"
        yield SystemRow(
            "Apparate", words, f"the median token exits at {depth:.2f} of the depth", "implied"
        )


def wedlm() -> Iterator[SystemRow]:
    """The roofline says what a pass over a window costs more than one over a token."""
    roofline = Roofline(SHAPES["Qwen3-8B"], HARDWARE["H100-SXM"])

    def widened(width: int) -> float:
        return roofline.iteration_s([], width, 0) / roofline.iteration_s([], 1, 0)

    def at(tokens: float) -> float:
        spec = MultiTokenSpec(kind="multi_token", tokens_per_step=tokens, window=16)
        return speed_up(spec, widened)

    for target in (3.0, 10.0):
        found = f"{needed(at, target, 1.0, 16.0):.2f} tokens a pass over 16 positions"
        yield SystemRow("WeDLM", f"Qwen3-8B, {target:.0f}x", found, "implied")


def prophet() -> Iterator[SystemRow]:
    for task, target in (("planning", 2.67), ("general", 2.34)):

        def at(tokens: float) -> float:
            return speed_up(MultiTokenSpec(kind="multi_token", tokens_per_step=tokens))

        share = 1 / needed(at, target, 1.0, 16.0)
        yield SystemRow(
            "Prophet", f"{task}, up to {target}x", f"{share:.2f} of the passes", "implied"
        )


SYSTEMS = (dparallel, cosine, mirror, faser, dmtd, apparate, wedlm, prophet)


def rows() -> list[SystemRow]:
    return [row for system in SYSTEMS for row in system()]


def main() -> None:
    table = Table("system", "published", "transform", "how")
    for row in rows():
        table.add_row(*row.cells)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
