"""The search space: families of staircases in each layout, and how one step leads to the next.

A point is a dictionary of parameters, as Optuna's trials have them; every one is a schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import optuna

from staircase.pipeline import Pipeline
from staircase.scenario import PlanSpec
from staircase.schedule import Schedule, Staircase, constant, geometric, normal, uniform

Point = Mapping[str, Any]
# The parameters of each family, beside ``layout`` and ``family``.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "normal": (),
    "constant": ("first", "chunk", "write"),
    "geometric": ("first", "chunk", "write", "ratio"),
}


@dataclass(frozen=True)
class Space:
    """All staircases of the families, the same for every reading agent, in every layout."""

    pipeline: Pipeline
    spec: PlanSpec

    def schedule(self, point: Point) -> Schedule:
        return uniform(self.pipeline, _staircase(point), point["layout"])

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """The point that Optuna's sampler wants to see."""
        point: dict[str, Any] = {
            name: trial.suggest_categorical(name, self._values(name))
            for name in ("layout", "family")
        }
        for name in FAMILIES[point["family"]]:
            point[name] = trial.suggest_categorical(name, self._values(name))
        return point

    def baselines(self) -> list[dict[str, Any]]:
        """``normal`` and the paper's default in each layout, the latter if it is in the space."""
        sizes = self.spec.paper_default.model_dump()
        every = [{"layout": layout, "family": "normal"} for layout in self.spec.layouts]
        if all(size in self._values(name) for name, size in sizes.items()):
            paper = {"family": "constant", **sizes}
            every += [{"layout": layout, **paper} for layout in self.spec.layouts]
        return every

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for layout, (family, names) in product(self.spec.layouts, FAMILIES.items()):
            for sizes in product(*(self._values(name) for name in names)):
                yield {
                    "layout": layout,
                    "family": family,
                    **dict(zip(names, sizes, strict=True)),
                }

    def neighbours(self, point: Point) -> Iterator[dict[str, Any]]:
        """One parameter's next smaller or larger value, or another layout or family."""
        for layout in self.spec.layouts:
            if layout != point["layout"]:
                yield {**point, "layout": layout}
        for name in FAMILIES[point["family"]]:
            values = sorted(self._values(name))
            place = values.index(point[name])
            for near in values[max(place - 1, 0) : place + 2]:
                if near != point[name]:
                    yield {**point, name: near}
        yield from self._other_families(point)

    def _other_families(self, point: Point) -> Iterator[dict[str, Any]]:
        kept = {name: value for name, value in point.items() if name != "ratio"}
        if point["family"] == "geometric":
            yield {**kept, "family": "constant"}
        elif point["family"] == "constant":
            for ratio in self.spec.ratio:
                yield {**kept, "family": "geometric", "ratio": ratio}

    def _values(self, name: str) -> Sequence[Any]:
        if name == "layout":
            return self.spec.layouts
        if name == "family":
            return list(FAMILIES)
        return list(getattr(self.spec, name))


def _staircase(point: Point) -> Staircase:
    if point["family"] == "normal":
        return normal()
    first, chunk, write = point["first"], point["chunk"], point["write"]
    if point["family"] == "constant":
        return constant(first, chunk, write)
    return geometric(first, point["ratio"], cap=max(first, chunk), write=write)


def paper_staircase(spec: PlanSpec) -> Staircase:
    paper = spec.paper_default
    return constant(paper.first, paper.chunk, paper.write)
