"""Which cores the devices ``cpu:0``, ``cpu:1``, … get, and their processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from executor.cores.core_process import CoreProcess
from executor.cores.core_worker import Order
from executor.inprocess.threads import usable_cores
from staircase.errors import ScenarioError
from staircase.spec.engine_spec import EngineSpec


def start_processes(stack: ExitStack, specs: Mapping[str, EngineSpec]) -> dict[int, CoreProcess]:
    """By N of ``cpu:N``, those that have a process of their own; ``stack`` ends them.

    Raises:
        ScenarioError: this process may not use so many cores.
    """
    return {
        number: stack.enter_context(CoreProcess(f"cpu:{number}", Order(_on(specs, number), cores)))
        for number, cores in dealt_cores(specs, usable_cores()).items()
    }


def dealt_cores(specs: Mapping[str, EngineSpec], usable: Sequence[int]) -> dict[int, Sequence[int]]:
    """By N of ``cpu:N``, as many cores as its engines have ``threads``, in the order of N.

    Raises:
        ScenarioError: there are not so many.
    """
    numbers = sorted({spec.core for spec in specs.values() if spec.core is not None})
    counts = {n: max(spec.threads or 1 for spec in _on(specs, n).values()) for n in numbers}
    wanted = sum(counts.values())
    if wanted > len(usable):
        names = ", ".join(f"cpu:{number}" for number in numbers)
        raise ScenarioError(
            f"engines.*.device: {names} need {wanted} cores, and there are {len(usable)} for this "
            "process; put the engines on fewer devices, or all on 'cpu'"
        )
    left = list(usable)
    return {n: [left.pop(0) for _ in range(count)] for n, count in counts.items()}


def _on(specs: Mapping[str, EngineSpec], number: int) -> dict[str, EngineSpec]:
    return {name: spec for name, spec in specs.items() if spec.core == number}
