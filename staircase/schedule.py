"""Schedules: how much an agent reads before each piece of its writing.

A staircase is a non-decreasing step function from tokens written to tokens read of each source. It
is kept as steps ``(read, write)``: a step starts when every source has ``read`` tokens (or ended),
shows the agent exactly those, and lets it write ``write`` tokens. When all sources have ended and
are fully shown, the step in question writes to the end, whatever its ``write`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from staircase.bounds import (
    LEAST_RATIO,
    LONGEST_RUN_S,
    MOST,
    MOST_RATIO,
    MOST_SAMPLES,
    MOST_TOKENS,
)
from staircase.errors import ScheduleError
from staircase.pipeline import Agent, Pipeline

Layout = Literal["rebuild", "rebuild_query_first", "append_rounds", "interleave"]
LAYOUTS: tuple[Layout, ...] = ("rebuild", "rebuild_query_first", "append_rounds", "interleave")
# In which a prompt does not depend on when it was read what it shows.
REBUILT_LAYOUTS: tuple[Layout, ...] = ("rebuild", "rebuild_query_first")
# Without the one whose quality no profile forecasts well enough (docs/quality.md).
SEARCHED_LAYOUTS: tuple[Layout, ...] = ("rebuild", "rebuild_query_first", "append_rounds")


@dataclass(frozen=True)
class Step:
    """Read to ``read`` tokens of each source (None: all); write ``write`` (None: to the end)."""

    read: int | None
    write: int | None


READ_ALL = Step(None, None)


@dataclass(frozen=True)
class Staircase:
    """Steps, and what comes after them.

    Attributes:
        steps: the first steps; ``read`` is counted from the source's beginning.
        growth: after ``steps``, every further step reads ``growth.read`` tokens more and writes
            ``growth.write``; None: the step after the last reads all and writes to the end.
    """

    steps: tuple[Step, ...] = ()
    growth: Step | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        last = 0
        for number, step in enumerate(self.steps, start=1):
            last = _check_step(number, step, last)
        if self.growth is not None:
            _check_growth(self.growth)

    def step(self, number: int) -> Step:
        """The step ``number``, counted from 0."""
        if number < len(self.steps):
            return self.steps[number]
        if self.growth is None or self.growth.read is None:
            return READ_ALL
        last = self.steps[-1].read if self.steps else 0
        if last is None:
            return READ_ALL
        beyond = number - len(self.steps) + 1
        return Step(last + beyond * self.growth.read, self.growth.write)

    @property
    def is_normal(self) -> bool:
        return self.step(0).read is None


def _check_step(number: int, step: Step, last: int) -> int:
    if step.read is not None and step.read < last:
        raise ScheduleError(
            f"step {number} reads {step.read} tokens, must be {last} or more: "
            "what was read cannot be unread"
        )
    if step.write is not None and step.write < 1:
        raise ScheduleError(f"step {number} writes {step.write} tokens, must be 1 or more")
    if max(step.read or 0, step.write or 0) > MOST_TOKENS:
        raise ScheduleError(
            f"step {number} reads {step.read} and writes {step.write} tokens, "
            f"must be at most {MOST_TOKENS}"
        )
    return last if step.read is None else step.read


def _check_growth(growth: Step) -> None:
    if growth.read is None or growth.read < 1 or growth.write is None or growth.write < 1:
        raise ScheduleError(
            f"every further step reads {growth.read} and writes {growth.write} tokens, "
            "both must be 1 or more"
        )
    if max(growth.read, growth.write) > MOST_TOKENS:
        raise ScheduleError(
            f"every further step reads {growth.read} and writes {growth.write} tokens, "
            f"both must be at most {MOST_TOKENS}"
        )


def normal() -> Staircase:
    """Read everything, then write: what Mixture-of-Agents does without staircases."""
    return Staircase()


def constant(first: int, chunk: int, write: int, first_write: int | None = None) -> Staircase:
    """Read ``first`` tokens, then ``chunk`` more before every further piece of ``write`` tokens."""
    return Staircase((Step(first, first_write or write),), Step(chunk, write))


def geometric(first: int, ratio: float, cap: int, write: int) -> Staircase:
    """Reads of ``first``, ``first·ratio``, ``first·ratio²`` … more tokens, each at most ``cap``."""
    # So written, the comparison fails for NaN as well.
    if not (1 <= first <= cap <= MOST_TOKENS and LEAST_RATIO <= ratio <= MOST_RATIO):
        raise ScheduleError(
            f"geometric: first {first}, ratio {ratio}, cap {cap}; needs first of 1 or more, ratio "
            f"from {LEAST_RATIO} to {MOST_RATIO:g}, cap from first to {MOST_TOKENS}"
        )
    steps, chunk, total = [], float(first), 0
    while round(chunk) < cap:
        total += round(chunk)
        steps.append(Step(total, write))
        chunk *= ratio
    return Staircase((*steps, Step(total + cap, write)), Step(cap, write))


def explicit(steps: Iterable[tuple[int | None, int | None]]) -> Staircase:
    """The given ``(read, write)`` steps, then the rest."""
    return Staircase(tuple(Step(read, write) for read, write in steps))


def paper_default(chunk: int = 16, write: int = 16) -> Staircase:
    """The paper's first chunk of 8 tokens, then a constant chunk.

    Source: arXiv 2510.05059 for the first 8; it does not publish the later chunk sizes, so
    ``chunk`` and ``write`` are assumptions.
    """
    return constant(first=8, chunk=chunk, write=write)


def parse_staircase(text: str) -> Staircase:
    """A staircase in a word: ``normal``, ``constant:FIRST,CHUNK,WRITE``,
    ``geometric:FIRST,RATIO,CAP,WRITE`` or ``steps:READ/WRITE,READ/WRITE,…``.

    Raises:
        ScheduleError: it is none of these.
    """
    family, _, rest = text.partition(":")
    numbers = rest.split(",") if rest else []
    try:
        if family == "normal" and not numbers:
            return normal()
        if family == "constant" and len(numbers) == 3:
            return constant(*(int(number) for number in numbers))
        if family == "geometric" and len(numbers) == 4:
            first, ratio, cap, write = numbers
            return geometric(int(first), float(ratio), int(cap), int(write))
        if family == "steps" and numbers:
            pairs = [pair.split("/") for pair in numbers]
            return explicit([(int(read), int(write)) for read, write in pairs])
    except ValueError:
        pass
    raise ScheduleError(
        f"staircase {text!r}: give normal, constant:FIRST,CHUNK,WRITE, "
        "geometric:FIRST,RATIO,CAP,WRITE or steps:READ/WRITE,READ/WRITE"
    )


@dataclass(frozen=True)
class Barrier:
    """Whom a step waits for.

    ``all`` sources; a ``quorum`` of ``count`` sources; ``grace``: all, but no longer than
    ``grace_s`` seconds after the first ``count`` are there; or ``ahead``: all, but a vote no longer
    than until one answer is ahead of every other by ``count`` ballots.
    """

    kind: Literal["all", "quorum", "grace", "ahead"] = "all"
    count: int | None = None
    grace_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind != "all" and (self.count is None or not 1 <= self.count <= MOST):
            raise ScheduleError(
                f"barrier {self.kind!r}: count is {self.count}, must be from 1 to {MOST}"
            )
        # So written, the comparison fails for NaN as well.
        is_known = self.grace_s is not None and 0 <= self.grace_s <= LONGEST_RUN_S
        if self.kind == "grace" and not is_known:
            raise ScheduleError(
                f"barrier 'grace': grace_s is {self.grace_s}, must be from 0 to {LONGEST_RUN_S:g}"
            )

    def quorum(self, sources: int) -> int:
        """How many of ``sources`` must be there before a step may start."""
        return sources if self.kind in ("all", "ahead") else min(self.count or sources, sources)


def parse_barrier(text: str) -> Barrier:
    """A barrier in a word: ``all``, ``quorum:COUNT``, ``grace:COUNT,SECONDS`` or ``ahead:COUNT``.

    Raises:
        ScheduleError: it is none of these.
    """
    kind, _, rest = text.partition(":")
    numbers = rest.split(",") if rest else []
    try:
        if kind == "all" and not numbers:
            return Barrier()
        if kind == "quorum" and len(numbers) == 1:
            return Barrier("quorum", int(numbers[0]))
        if kind == "ahead" and len(numbers) == 1:
            return Barrier("ahead", int(numbers[0]))
        if kind == "grace" and len(numbers) == 2:
            return Barrier("grace", int(numbers[0]), float(numbers[1]))
    except ValueError:
        pass
    raise ScheduleError(
        f"barrier {text!r}: give all, quorum:COUNT, grace:COUNT,SECONDS or ahead:COUNT"
    )


@dataclass(frozen=True)
class Window:
    """How much of an input a step shows: at most the last ``tokens`` that were read.

    What is shown begins further on by ``hop`` tokens at a time. Until it does, a prompt only grows
    at the input's end, so that a prefix cache finds it; then all from the input on is computed
    anew.
    """

    tokens: int
    hop: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.tokens <= MOST_TOKENS:
            raise ScheduleError(f"window of {self.tokens} tokens: must be from 1 to {MOST_TOKENS}")
        if not 1 <= self.hop <= self.tokens:
            raise ScheduleError(
                f"window of {self.tokens} tokens: hop is {self.hop}, must be from 1 to "
                f"{self.tokens}, or there would be nothing to show"
            )

    def begin(self, read: int) -> int:
        """Tokens at the input's beginning that are not shown when ``read`` tokens were read."""
        return -(-max(read - self.tokens, 0) // self.hop) * self.hop


def parse_window(text: str) -> Window | None:
    """A window in a word: ``none``, ``TOKENS`` or ``TOKENS/HOP``.

    Raises:
        ScheduleError: it is none of these.
    """
    if text == "none":
        return None
    try:
        numbers = [int(number) for number in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ScheduleError(f"window {text!r}: give none, TOKENS or TOKENS/HOP")
    return Window(*numbers)


def parse_checked(text: str) -> int | None:
    """What is settled in a word, as ``Schedule.checked`` has it: a number of tokens, or ``all``.

    Raises:
        ScheduleError: it is neither.
    """
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise ScheduleError(f"checked {text!r}: give all, or a number of tokens") from None


@dataclass(frozen=True)
class Schedule:
    """One staircase per reading agent, plus what holds for all of them.

    Attributes:
        staircases: by agent name; an agent that reads and is not named reads normally.
        layout: where read text stands in the prompt (DESIGN section 4, ``docs/schedules.md``).
        barrier: whom a step waits for.
        reading: show ``exact``-ly what the step reads, or the ``latest`` that has arrived.
        starve: when the next read is not there yet, ``wait`` or keep on to ``write``.
        early_end: when the reader ends before it has read all, ``accept``, or ``continue``
            reading and writing.
        revision: what an agent wrote on a text that was then replaced: ``rewrite`` it, or ``keep``
            it and go on.
        retries: how often a failed call is started again with the text so far.
        checked: what an agent wrote is checked whenever it has read more, and stays as far as it
            would have been written then; text that was written or checked on so many tokens of
            each source (None: on all of them) is settled and stays for good. 0: all is at once.
        show: a reader sees what is ``settled`` of the answer, or all ``at_once``, and then what
            is taken back again.
        without: agents, of branches and those that read nobody, that are not asked; to their
            readers they are as if they had ended at once and said nothing.
        at_once: of those on whom somebody votes, so many write at a time; None: all.
        window: how much of each input a step shows; None: all that was read.
    """

    staircases: Mapping[str, Staircase] = field(default_factory=dict)
    layout: Layout = "append_rounds"
    barrier: Barrier = Barrier()
    reading: Literal["exact", "latest"] = "exact"
    starve: Literal["wait", "write"] = "wait"
    early_end: Literal["accept", "continue"] = "accept"
    revision: Literal["rewrite", "keep"] = "rewrite"
    checked: int | None = 0
    show: Literal["settled", "at_once"] = "settled"
    retries: int = 0
    without: tuple[str, ...] = ()
    at_once: int | None = None
    window: Window | None = None

    @cached_property
    def key(self) -> str:
        """What it is looked up by, as a mapping cannot be hashed: its ``repr``, made once."""
        return repr(self)

    def __post_init__(self) -> None:
        object.__setattr__(self, "without", tuple(sorted(set(self.without))))
        if self.layout not in LAYOUTS:
            raise ScheduleError(f"layout {self.layout!r}: must be one of {', '.join(LAYOUTS)}")
        for name, (choices, chosen) in {
            "reading": (("exact", "latest"), self.reading),
            "starve": (("wait", "write"), self.starve),
            "early_end": (("accept", "continue"), self.early_end),
            "revision": (("rewrite", "keep"), self.revision),
            "show": (("settled", "at_once"), self.show),
        }.items():
            if chosen not in choices:
                raise ScheduleError(f"{name} {chosen!r}: must be {' or '.join(choices)}")
        if self.retries < 0:
            raise ScheduleError(f"retries is {self.retries}, must be 0 or more")
        if self.at_once is not None and not 1 <= self.at_once <= MOST_SAMPLES:
            raise ScheduleError(f"at_once is {self.at_once}, must be from 1 to {MOST_SAMPLES}")

        self._check_checks()
        self._check_window()

    def _check_checks(self) -> None:
        if self.checked == 0:
            return
        if self.checked is not None and not 0 < self.checked <= MOST_TOKENS:
            raise ScheduleError(f"checked is {self.checked}, must be from 0 to {MOST_TOKENS}")
        if self.layout not in REBUILT_LAYOUTS:
            raise ScheduleError(
                f"layout {self.layout!r}: where texts are checked it must be "
                f"{' or '.join(REBUILT_LAYOUTS)}"
            )

    def _check_window(self) -> None:
        if self.window is None:
            return
        if self.layout not in REBUILT_LAYOUTS:
            raise ScheduleError(
                f"layout {self.layout!r}: with a window it must be {' or '.join(REBUILT_LAYOUTS)}"
            )
        if self.checks:
            raise ScheduleError("window: is not for texts that are checked; leave one of them out")

    def skipped(self, pipeline: Pipeline, agent: Agent) -> dict[str, Callable[[int], int]]:
        """Of sources that ``agent`` sees through a window: how many tokens at the beginning are not
        shown when so many were read.
        """
        if self.window is None:
            return {}
        return {name: self.window.begin for name in agent.reads if pipeline[name].arrival}

    @property
    def checks(self) -> bool:
        """Whether a text is checked when its agent has read more."""
        return self.checked != 0

    def settles(self, step: Step) -> bool:
        """Whether what is written or checked in ``step`` stays for good."""
        if step.read is None:
            return True
        return self.checked is not None and step.read >= self.checked

    @property
    def is_timed(self) -> bool:
        """Whether what is read depends on when things happen, not only on how many tokens."""
        is_usual = self.barrier.kind == "all" and self.reading == "exact" and self.starve == "wait"
        return not is_usual or self.checks

    def check(self, pipeline: Pipeline) -> None:
        """Raise ScheduleError unless it can be played on ``pipeline``.

        Every staircase belongs to a reading agent, and every reading agent keeps a source.
        """
        readers = [agent.name for agent in pipeline.readers]
        for name in self.staircases:
            if name not in readers:
                known = name in [vote.name for vote in pipeline.votes]
                why = "votes, on whole texts" if known else "reads nobody in steps"
                raise ScheduleError(
                    f"staircase for {name!r}, which {why}; readers: {', '.join(readers)}"
                )
        self._check_votes(pipeline)
        if self.checks:
            _check_checkable(pipeline)
        if self.window and not pipeline.inputs:
            raise ScheduleError("window: is for inputs, and there are none (pipeline.inputs)")
        able = [*proposers_of(pipeline), *branches_of(pipeline)]
        for name in self.without:
            if name not in able:
                raise ScheduleError(
                    f"without {name!r}: must be an agent that reads nobody and is read, or a "
                    f"branch: {', '.join(able) or 'there is none'}"
                )
        if not self.leaves_somebody(pipeline):
            raise ScheduleError(f"without {', '.join(self.without)}: a reader has nobody to read")

    def _check_votes(self, pipeline: Pipeline) -> None:
        if not pipeline.votes and (self.barrier.kind == "ahead" or self.at_once):
            key = "at_once" if self.at_once else "barrier ahead"
            raise ScheduleError(
                f"{key}: is for votes, and nobody votes (pipeline.agents.NAME.vote)"
            )

    def leaves_somebody(self, pipeline: Pipeline) -> bool:
        """Whether every reading agent has a source that is asked."""
        readers = (*pipeline.readers, *pipeline.votes)
        return not any({*agent.reads} <= {*self.without} for agent in readers)


def _check_checkable(pipeline: Pipeline) -> None:
    for what, is_there in {
        "peers": pipeline.has_peers,
        "votes": bool(pipeline.votes),
        "branches": pipeline.has_forks,
    }.items():
        if is_there:
            raise ScheduleError(f"checked: is not for pipelines with {what}; leave it out")


def proposers_of(pipeline: Pipeline) -> list[str]:
    """Names of the agents that read nobody and are read; inputs are none, nor is an agent whose
    items start others.
    """
    others = {agent.name for agent in pipeline if agent.arrival or agent.items}
    names = [agent.name for agent in pipeline if not agent.reads and agent.name != pipeline.answer]
    return [name for name in names if name not in others]


def branches_of(pipeline: Pipeline) -> list[str]:
    """Names of the agents that items start, without the one that answers."""
    return [one.name for one in pipeline if one.fork and one.name != pipeline.answer]


def uniform(pipeline: Pipeline, staircase: Staircase, layout: Layout = "append_rounds") -> Schedule:
    """The same staircase for every reading agent."""
    return Schedule({agent.name: staircase for agent in pipeline.readers}, layout)
