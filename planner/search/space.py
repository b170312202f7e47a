"""The search space: families of staircases, layouts, options, and how one step leads to the next.

A point is a dictionary of parameters, as Optuna's trials have them; every one is a schedule. What
the scenario gives one value for is no parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations, product
from math import prod
from typing import Any

import numpy as np
import optuna

from staircase.bounds import MOST_SAMPLES
from staircase.pipeline import Pipeline
from staircase.schedule import (
    REBUILT_LAYOUTS,
    Layout,
    Schedule,
    Staircase,
    Window,
    branches_of,
    constant,
    geometric,
    normal,
    parse_barrier,
    parse_checked,
    parse_window,
    proposers_of,
)
from staircase.spec.plan_spec import PlanSpec

Point = Mapping[str, Any]
# The parameters of each family, beside ``family``.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "normal": (),
    "constant": ("first", "chunk", "write"),
    "geometric": ("first", "chunk", "write", "ratio"),
}
# What holds for all agents; the latter say nothing where everybody reads all first.
COMMON = ("layout", "barrier", "window", "at_once", "without")
OPTIONS = ("reading", "starve", "checked", "show", "revision")


@dataclass(frozen=True)
class Space:
    """Staircases of the families for each group of reading agents, in every layout and option.

    A group is all reading agents, those of a layer, or one agent, as ``spec.staircases`` says.
    The parameters of a group have its name and a dot before theirs, if there are several.
    """

    pipeline: Pipeline
    spec: PlanSpec

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The reading agents of each group, by the beginning of its parameters' names."""
        readers = [agent.name for agent in self.pipeline.readers]
        keys = {
            "same": dict.fromkeys(readers, "all"),
            "layer": {name: f"layer {depth}" for name, depth in self._depths().items()},
            "agent": {name: name for name in readers},
        }[self.spec.staircases]
        names = dict.fromkeys(keys[name] for name in readers)
        found = {key: tuple(name for name in readers if keys[name] == key) for key in names}
        if len(found) == 1:
            return {"": tuple(readers)}
        return {f"{key}.": agents for key, agents in found.items()}

    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for agent in self.pipeline.order:
            depths[agent.name] = max((depths[name] + 1 for name in agent.follows), default=1)
        return {agent.name: depths[agent.name] for agent in self.pipeline.readers}

    @cached_property
    def _left_out(self) -> dict[str, tuple[str, ...]]:
        """Who is not asked, by the value of ``without``: proposers, the last branches of each text;
        every reader keeps a source.
        """
        most = self.spec.leave_out
        last = (names[max(len(names) - most, 0) :] for names in self._branches)
        able = [*proposers_of(self.pipeline), *chain.from_iterable(last)]
        return {
            ", ".join(map(repr, subset)) or "nobody": subset
            for count in range(min(most, len(able)) + 1)
            for subset in combinations(able, count)
            if Schedule(without=subset).leaves_somebody(self.pipeline)
            and not self._leaves_gap(subset)
        }

    @cached_property
    def _branches(self) -> list[list[str]]:
        """Those of each template that the items of one text start, in the items' order."""
        found: dict[tuple[str, str], list[str]] = {}
        for agent in map(self.pipeline.__getitem__, branches_of(self.pipeline)):
            if agent.fork:
                found.setdefault((agent.template, agent.fork.source), []).append(agent.name)
        return list(found.values())

    def _leaves_gap(self, without: tuple[str, ...]) -> bool:
        """Whether a branch is left out, but not one that a later item starts."""
        left_out = ([name in without for name in names] for names in self._branches)
        return any(flags != sorted(flags) for flags in left_out)

    def schedule(self, point: Point) -> Schedule:
        layout: Layout = point["layout"]
        return Schedule(
            {
                name: staircase
                for group, agents in self.groups.items()
                for staircase in [_staircase(point, group)]
                for name in agents
            },
            layout,
            parse_barrier(point.get("barrier", self.spec.barrier[0])),
            point.get("reading", self.spec.reading[0]),
            point.get("starve", self.spec.starve[0]),
            without=self._left_out[point.get("without", "nobody")],
            at_once=self._at_once(point),
            checked=self._checked(point),
            show=self._show(point),
            window=self._window(point),
            revision=point.get("revision", self.spec.revision[0]),
        )

    def _window(self, point: Point) -> Window | None:
        """None, in layouts in which there can be none."""
        word = point.get("window", self.spec.window[0])
        return parse_window(word) if point["layout"] in REBUILT_LAYOUTS else None

    def _checked(self, point: Point) -> int | None:
        """Nothing, in layouts in which nothing can be."""
        word = point.get("checked", self.spec.checked[0])
        return parse_checked(str(word)) if point["layout"] in REBUILT_LAYOUTS else 0

    def _show(self, point: Point) -> Any:
        """Where nothing is checked, there is nothing to choose."""
        is_free = self._checked(point) == 0
        return "settled" if is_free else point.get("show", self.spec.show[0])

    def _at_once(self, point: Point) -> int | None:
        return at_once_of(int(point.get("at_once", self.spec.at_once[0])))

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """The point that Optuna's sampler wants to see."""
        return self.point(trial.suggest_categorical)

    def point(self, choose: Callable[[str, Sequence[Any]], Any]) -> dict[str, Any]:
        """The point that ``choose`` makes of each parameter's name and values."""
        point = {name: choose(name, self._values(name)) for name in self._listed(COMMON)}
        for group in self.groups:
            point[f"{group}family"] = choose(f"{group}family", self._values("family"))
            for name in FAMILIES[point[f"{group}family"]]:
                point[f"{group}{name}"] = choose(f"{group}{name}", self._values(name))
        for name in self._listed(OPTIONS) if self._reads_in_steps(point) else ():
            point[name] = choose(name, self._values(name))
        return point

    def baselines(self) -> list[dict[str, Any]]:
        """``normal`` and the paper's default in each layout, the latter if it is in the space."""
        sizes = self.spec.paper_default.model_dump()
        kinds: list[dict[str, Any]] = [{"family": "normal"}]
        if all(size in self._values(name) for name, size in sizes.items()):
            kinds.append({"family": "constant", **sizes})
        return [self._alike(kind, layout) for kind in kinds for layout in self.spec.layouts]

    def _alike(self, sizes: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """The same staircase for every group; the options that are listed first."""
        given = {f"{group}{name}": size for group in self.groups for name, size in sizes.items()}
        given["layout"] = layout
        return self.point(lambda name, values: given.get(name, values[0]))

    def sample(self, most: int, seed: int) -> Iterator[dict[str, Any]]:
        """All points, if there are not more; else those alike for all groups, and random ones."""
        if len(self) <= most:
            yield from self
            return
        alike = replace(self, spec=self.spec.model_copy(update={"staircases": "same"}))
        count = len(alike) if len(alike) <= most // 2 else 0
        for point in alike if count else ():
            sizes = _of_group(point, "")
            common = {name: value for name, value in point.items() if name not in sizes}
            yield common | {
                f"{group}{n}": size for group in self.groups for n, size in sizes.items()
            }
        rng = np.random.default_rng(seed)
        for _ in range(most - count):
            yield self.point(lambda name, values: values[int(rng.integers(len(values)))])

    def __len__(self) -> int:
        """Points, some of which are the same schedule."""
        options = prod(len(self._values(name)) for name in (*COMMON, *OPTIONS))
        return int(options * len(list(self._group_points(""))) ** len(self.groups))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for common in self._products(self._listed(COMMON)):
            for parts in product(*map(self._group_points, self.groups)):
                point = {**common, **{name: size for part in parts for name, size in part.items()}}
                listed = self._listed(OPTIONS) if self._reads_in_steps(point) else ()
                for options in self._products(listed):
                    yield {**point, **options}

    def _group_points(self, group: str) -> Iterator[dict[str, Any]]:
        for family, names in FAMILIES.items():
            for sizes in self._products(names):
                yield {f"{group}family": family, **{f"{group}{n}": s for n, s in sizes.items()}}

    def _products(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        for values in product(*(self._values(name) for name in names)):
            yield dict(zip(names, values, strict=True))

    def neighbours(self, point: Point) -> Iterator[dict[str, Any]]:
        """One parameter's next smaller or larger value, or another layout, option or family."""
        for name in (*COMMON, *OPTIONS):
            for value in self._values(name) if name in point else ():
                if value != point[name]:
                    yield {**point, name: value}
        for group in self.groups:
            for name in FAMILIES[point[f"{group}family"]]:
                values = sorted(self._values(name))
                place = values.index(point[f"{group}{name}"])
                for near in values[max(place - 1, 0) : place + 2]:
                    if near != point[f"{group}{name}"]:
                        yield {**point, f"{group}{name}": near}
            yield from self._other_families(point, group)

    def _other_families(self, point: Point, group: str) -> Iterator[dict[str, Any]]:
        family = point[f"{group}family"]
        if family == "geometric":
            kept = {name: value for name, value in point.items() if name != f"{group}ratio"}
            yield {**kept, f"{group}family": "constant"}
        elif family == "constant":
            for ratio in self.spec.ratio:
                yield {**point, f"{group}family": "geometric", f"{group}ratio": ratio}
        if len(self.groups) > 1:
            yield from self._as_other_groups(point, group)

    def _as_other_groups(self, point: Point, group: str) -> Iterator[dict[str, Any]]:
        """One group reads all first, or reads as another does."""
        own = {f"{group}{name}" for name in ("family", *FAMILIES["geometric"])}
        others = {name: value for name, value in point.items() if name not in own}
        changes = [{"family": "normal"}, *(_of_group(point, other) for other in self.groups)]
        for change in changes:
            near = {**others, **{f"{group}{name}": value for name, value in change.items()}}
            if near != point and self._reads_in_steps(near) == self._reads_in_steps(point):
                yield near

    def _reads_in_steps(self, point: Point) -> bool:
        return any(point[f"{group}family"] != "normal" for group in self.groups)

    def _listed(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that are searched; the layout always is."""
        return [name for name in names if name == "layout" or len(self._values(name)) > 1]

    def _values(self, name: str) -> Sequence[Any]:
        if name == "layout":
            return self.spec.layouts
        if name == "family":
            return list(FAMILIES)
        if name == "without":
            return list(self._left_out)
        return list(getattr(self.spec, name))


def _of_group(point: Point, group: str) -> dict[str, Any]:
    names = ("family", *FAMILIES[point[f"{group}family"]])
    return {name: point[f"{group}{name}"] for name in names}


def _staircase(point: Point, group: str) -> Staircase:
    sizes = _of_group(point, group)
    if sizes["family"] == "normal":
        return normal()
    first, chunk, write = sizes["first"], sizes["chunk"], sizes["write"]
    if sizes["family"] == "constant":
        return constant(first, chunk, write)
    return geometric(first, sizes["ratio"], cap=max(first, chunk), write=write)


def paper_staircase(spec: PlanSpec) -> Staircase:
    paper = spec.paper_default
    return constant(paper.first, paper.chunk, paper.write)


def at_once_of(count: int) -> int | None:
    """As a schedule says it: None where it is no bound."""
    return None if count == MOST_SAMPLES else count
