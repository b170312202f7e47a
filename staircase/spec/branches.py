"""Templates: what one entry of ``pipeline.agents`` stands for.

    solver: {samples: 3}                          # solver.1, solver.2, solver.3
    worker: {for_each: outline, branches: 3}      # worker.1, worker.2, worker.3
    checker: {for_each: worker, branches: 2}      # checker.1.1, checker.1.2, checker.2.1 …

``worker.2`` is started by item 2 of ``outline``, ``checker.2.1`` by item 1 of ``worker.2``. An
input may have items, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from staircase.bounds import MOST_AGENTS
from staircase.errors import PipelineError

# Whose text, and which of its items, from 1.
Start = tuple[str, int]
NO_INPUTS: Mapping[str, str] = {}


class AnyAgentSpec(Protocol):
    """What is looked at of an entry."""

    @property
    def items(self) -> str: ...

    @property
    def for_each(self) -> str: ...

    @property
    def branches(self) -> int | None: ...

    @property
    def samples(self) -> int: ...


class Branches:
    """The agents that ``specs`` stand for, by name.

    Args:
        inputs: the items of each.

    Raises:
        PipelineError: a template is of an agent without items, items start nobody, or there are too
            many agents.
    """

    def __init__(
        self, specs: Mapping[str, AnyAgentSpec], inputs: Mapping[str, str] = NO_INPUTS
    ) -> None:
        self._specs = specs
        self._items = {**inputs, **{name: spec.items for name, spec in specs.items()}}
        for name, spec in specs.items():
            self._check(name, spec)
        if any(spec.for_each for spec in specs.values()):
            self._check_count()

    def names(self, entry: str) -> list[str]:
        """Of the agents that ``entry`` stands for: itself, if it is no template."""
        return list(self._forks.get(entry, {entry: None}))

    def only(self, entry: str) -> str:
        """The one agent that ``entry`` stands for, where it is to be one."""
        names = self.names(entry)
        if len(names) > 1:
            raise PipelineError(
                f"answer {entry!r} stands for {len(names)} agents; give one that reads them, or "
                f"one of them, as {names[0]}"
            )
        return names[0]

    def all_of(self, entries: Sequence[str], but: str) -> list[str]:
        """The agents that ``entries`` stand for, without ``but`` where it is one of several."""
        found = [(name, len(names)) for names in map(self.names, entries) for name in names]
        return [name for name, count in found if name != but or count == 1]

    def forks(self, entry: str) -> dict[str, Start | None]:
        """The agents that ``entry`` stands for, by name, and what starts each that is a branch."""
        return self._forks[entry]

    @cached_property
    def _forks(self) -> dict[str, dict[str, Start | None]]:
        return {entry: dict(self._expanded(entry)) for entry in self._specs}

    def _expanded(self, entry: str) -> Iterator[tuple[str, Start | None]]:
        spec = self._specs[entry]
        if not spec.for_each:
            names = [f"{entry}.{number}" for number in range(1, spec.samples + 1)]
            yield from ((name, None) for name in (names if spec.samples > 1 else [entry]))
            return
        for source in self._sources(spec.for_each):
            path = source.removeprefix(spec.for_each)
            for item in range(1, (spec.branches or 0) + 1):
                yield f"{entry}{path}.{item}", (source, item)

    def _sources(self, entry: str) -> list[str]:
        is_input = entry not in self._specs
        return [entry] if is_input else [name for name, _ in self._expanded(entry)]

    def _check(self, name: str, spec: AnyAgentSpec) -> None:
        key = f"agents.{name}"
        if spec.for_each and spec.for_each not in self._items:
            raise PipelineError(f"{key}.for_each: {spec.for_each!r} is no agent and no input")
        if spec.for_each and not self._items[spec.for_each]:
            raise PipelineError(f"{key}.for_each: {spec.for_each!r} has no 'items'")
        if spec.items and all(one.for_each != name for one in self._specs.values()):
            raise PipelineError(f"{key}.items: start nobody; give an agent for_each: {name}")
        self._check_circle(name)

    def _check_circle(self, name: str) -> None:
        passed = [name]
        while source := self._specs[passed[-1]].for_each:
            if source in passed:
                raise PipelineError(
                    f"agents.{name}.for_each: {' → '.join([*passed, source])} is a circle"
                )
            if source not in self._specs:
                return
            passed.append(source)

    def _check_count(self) -> None:
        """Before any is made."""
        count = sum(map(self._count, self._specs))
        if count > MOST_AGENTS:
            raise PipelineError(
                f"the templates' branches make {count} agents, must be at most {MOST_AGENTS}: "
                "give fewer branches"
            )

    def _count(self, entry: str) -> int:
        spec = self._specs[entry]
        if not spec.for_each:
            return spec.samples
        sources = self._count(spec.for_each) if spec.for_each in self._specs else 1
        return sources * (spec.branches or 0)
