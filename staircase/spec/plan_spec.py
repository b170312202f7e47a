"""The ``plan`` part of a scenario file: what a search may try, and what it is for."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from staircase.bounds import (
    LEAST_CAPACITY_SHARE,
    LEAST_QUANTILE,
    LEAST_RATIO,
    LEAST_READING_RATE,
    LEAST_SEEDS,
    MOST_FIGURE,
    MOST_RATE,
    MOST_RATIO,
    MOST_SAMPLES,
    MOST_SEEDS,
    MOST_TOKENS,
)
from staircase.errors import ScheduleError
from staircase.metrics.request_metrics import READING_RATE
from staircase.schedule import (
    REBUILT_LAYOUTS,
    SEARCHED_LAYOUTS,
    Layout,
    parse_barrier,
    parse_window,
)
from staircase.spec.strict import (
    Count,
    CountFrom0,
    PositiveSeconds,
    Seed,
    Strict,
    Tokens,
)


class BaselineSpec(Strict):
    """The paper's default: a first chunk, then a constant one; the later sizes are assumptions."""

    first: Tokens = 8
    chunk: Tokens = 16
    write: Tokens = 16


def _barrier(word: str) -> str:
    try:
        parse_barrier(word)
    except ScheduleError as error:
        raise ValueError(str(error)) from None
    return word


def _window(word: str) -> str:
    try:
        parse_window(word)
    except ScheduleError as error:
        raise ValueError(str(error)) from None
    return word


BarrierWord = Annotated[str, AfterValidator(_barrier)]
# A number of tokens need not be quoted.
WindowWord = Annotated[
    str,
    BeforeValidator(lambda word: str(word) if type(word) is int else word),
    AfterValidator(_window),
]
Value = TypeVar("Value")
# Values of which a search may choose.
Listed = Annotated[list[Value], Field(min_length=1)]
Price = Annotated[float, Field(ge=0, le=MOST_FIGURE)]


class PriceSpec(Strict):
    """Of an engine: of a million tokens, of prompts that were computed (``input``) or ``cached``
    (as dear, unless given) and of ``output``; of an hour of one replica."""

    input: Price = 0.0
    cached: Price | None = None
    output: Price = 0.0
    hour: Price = 0.0


class RobustSpec(Strict):
    """A figure is its ``quantile``, to the worse, over ``seeds``: each has lengths, arrivals and
    noise of its own, and times off by as much as the profile says that it may be."""

    seeds: Annotated[int, Field(ge=LEAST_SEEDS, le=MOST_SEEDS)] = 5
    quantile: Annotated[float, Field(ge=LEAST_QUANTILE, le=1)] = 0.9


class HeldOutSpec(Strict):
    """The front on ``requests`` that the search did not see (0: not at all); limits are then
    tighter by the share ``margin``."""

    requests: CountFrom0 = 100
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02

    @model_validator(mode="after")
    def _check_margin(self) -> Self:
        if not self.requests and "margin" in self.model_fields_set:
            raise ValueError("margin needs requests of 1 or more")
        return self


class PlanSpec(Strict):
    """The search: its space, its effort, and what is good enough.

    ``objectives`` are figures of a forecast as ``planner/figures/objectives.py`` names them,
    ``limits`` the most that such a figure may be (of quality and score the least), in seconds.
    ``min_quality`` holds where quality is known, ``max_unread`` elsewhere. ``reading_rate`` is that
    of the answer's reader, in tokens a second. ``storage`` keeps the trials: the path of a journal
    file or a PostgreSQL address.

    ``staircases``: the ``same`` for every reading agent, or one for each ``layer`` or ``agent``.
    ``barrier`` (words of ``parse_barrier``), ``window`` (of ``parse_window``), ``reading``,
    ``starve``, ``checked`` (of how many tokens read makes a text settled, or ``all``; 0 is none),
    ``show`` and ``revision`` are searched where more than one value is given; so is ``at_once``,
    how many of those write at a time on whom somebody votes, and without which proposers, of whom
    at most ``leave_out`` at once, the readers do as well. ``prices`` (by engine) are for the figure
    ``cost``, ``goodput`` (what a request may take at most) for the figure of that name and for
    ``capacity``, at which ``capacity_share`` of the requests keep it.
    """

    trials: Count = 150
    seed: Seed = 0
    requests: Count = 24
    layouts: Listed[Layout] = list(SEARCHED_LAYOUTS)
    staircases: Literal["same", "layer", "agent"] = "same"
    barrier: Listed[BarrierWord] = ["all"]
    window: Listed[WindowWord] = ["none"]
    reading: Listed[Literal["exact", "latest"]] = ["exact"]
    starve: Listed[Literal["wait", "write"]] = ["wait"]
    checked: Listed[Annotated[int, Field(ge=0, le=MOST_TOKENS)] | Literal["all"]] = [0]
    show: Listed[Literal["settled", "at_once"]] = ["settled"]
    revision: Listed[Literal["rewrite", "keep"]] = ["rewrite"]
    at_once: Listed[Annotated[int, Field(ge=1, le=MOST_SAMPLES)]] = [MOST_SAMPLES]
    leave_out: CountFrom0 = 0
    first: Listed[Tokens] = [4, 8, 12, 16, 24, 32, 48, 64]
    chunk: Listed[Tokens] = [4, 8, 12, 16, 24, 32, 48, 64]
    write: Listed[Tokens] = [2, 4, 8, 12, 16, 24, 32]
    ratio: Listed[Annotated[float, Field(ge=LEAST_RATIO, le=MOST_RATIO)]] = [1.5, 2.0, 3.0]
    paper_default: BaselineSpec = BaselineSpec()
    sampler: Literal["nsga2", "tpe", "random"] = "nsga2"
    objectives: list[str] = []
    limits: dict[str, Annotated[float, Field(ge=-MOST_FIGURE, le=MOST_FIGURE)]] = {}
    min_quality: Annotated[float, Field(ge=0, le=1)] = 0.95
    max_unread: Annotated[float, Field(ge=0, le=1)] = 0.25
    reading_rate: Annotated[float, Field(ge=LEAST_READING_RATE, le=MOST_RATE)] = READING_RATE
    validated_front: CountFrom0 = 5
    prices: dict[str, PriceSpec] = {}
    goodput: dict[Literal["ttft", "tpot", "e2e"], PositiveSeconds] = {}
    capacity_share: Annotated[float, Field(ge=LEAST_CAPACITY_SHARE, le=1)] = 0.9
    robust: RobustSpec | None = None
    held_out: HeldOutSpec = HeldOutSpec()
    storage: str | None = None

    @model_validator(mode="after")
    def _check_checked(self) -> Self:
        is_checked = self.checked != [0]
        if "show" in self.model_fields_set and not is_checked:
            raise ValueError("show has no effect where nothing is checked; give checked")
        if is_checked and not {*self.layouts} & {*REBUILT_LAYOUTS}:
            raise ValueError(
                f"checked needs one of the layouts {', '.join(REBUILT_LAYOUTS)}; give it in layouts"
            )
        return self

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if not self.has_windows:
            return self
        if not {*self.layouts} & {*REBUILT_LAYOUTS}:
            raise ValueError(
                f"window needs one of the layouts {', '.join(REBUILT_LAYOUTS)}; give it in layouts"
            )
        if self.checked != [0]:
            raise ValueError(
                "window: is not for texts that are checked; leave out window or checked"
            )
        return self

    @property
    def has_windows(self) -> bool:
        """Whether schedules are tried that drop what they read of inputs."""
        return self.window != ["none"]

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        if "capacity_share" in self.model_fields_set and not self.goodput:
            raise ValueError("capacity_share needs goodput, the limits that so many requests keep")
        return self
