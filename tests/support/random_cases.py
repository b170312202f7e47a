"""Random pipelines, schedules, workloads and engines, small enough to meet every corner."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from hypothesis import reject

from simulator.core.cost import Cost
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from staircase import (
    Agent,
    Barrier,
    Pipeline,
    RequestShape,
    Schedule,
    Staircase,
    Timeline,
    Window,
    Workload,
    chain,
    constant,
    debate,
    explicit,
    geometric,
    moa,
    normal,
    single,
)
from staircase.bounds import MOST_TOKENS
from staircase.errors import WorkloadError
from staircase.pipeline import Arrival, Fork
from staircase.revisions.acceptance import EvenAcceptance
from staircase.revisions.updates import Update
from staircase.schedule import LAYOUTS, REBUILT_LAYOUTS, proposers_of
from staircase.shared_texts import TextPart
from staircase.votes import DISCARDED, NO_BALLOT, Ballot, Vote
from tests.support.prompt_texts import fixed_names

# Tokens of a text that no engine writes and that has no limit to speak of.
ANY = 1000


@dataclass(frozen=True)
class RandomCase:
    pipeline: Pipeline
    schedule: Schedule
    setups: dict[str, BatchingSetup]
    workload: Workload

    def with_few_blocks(self, rng: random.Random) -> RandomCase:
        """Limits KV to little more than the longest call needs, or not at all."""
        longest = self._longest_call()
        setups = {}
        for name, setup in self.setups.items():
            size = setup.limits.block_tokens
            few = -(-longest // size) + rng.choice([0, 0, 1, 3, 10])
            limits = replace(setup.limits, blocks=rng.choice([None, few, few, few]))
            if random.Random(repr(limits)).random() < 0.2:
                limits = _with_whole_prompts(limits, longest)
            setups[name] = replace(setup, limits=limits)
        return replace(self, setups=setups)

    def with_whole_prompts(self) -> RandomCase:
        """No prompt is cut."""
        longest = self._longest_call()
        setups = {
            name: replace(setup, limits=_with_whole_prompts(setup.limits, longest))
            for name, setup in self.setups.items()
        }
        return replace(self, setups=setups)

    def play(self) -> list[Timeline]:
        """Raises hypothesis' rejection where a call needs more KV than there turned out to be."""
        try:
            return simulate(self.pipeline, self.schedule, self.setups, self.workload)
        except WorkloadError:
            reject()

    def _longest_call(self) -> int:
        lines = simulate(self.pipeline, self.schedule, self.setups, self.workload)
        prompt = max(span.prompt_tokens for line in lines for span in line.spans)
        # Where reads depend on time, other limits may lead to other prompts.
        margin = 40 if self.schedule.is_timed or self.pipeline.has_peers else 0
        return prompt + max(a.max_tokens for a in self.pipeline if a.max_tokens < ANY) + margin


# The cases of additions begin with plain ones, which are therefore made once.
@cache
def random_case(seed: int, is_timed: bool = True) -> RandomCase:
    return drawn_case(random.Random(seed), is_timed)


def drawn_case(rng: random.Random, is_timed: bool = True) -> RandomCase:
    pipeline = _pipeline(rng)
    workload = _workload(rng, pipeline)
    drawn = random.Random(_first_said(workload))
    if drawn.random() < 0.5:
        workload = with_common_prompts(workload, pipeline, drawn)
    # Drawn apart, so that all other draws are those of the same case with everybody asked.
    without = _without(random.Random(_first_said(workload)), pipeline)
    schedule = replace(_schedule(rng, pipeline, is_timed), without=without)
    setups = {name: _setup(rng, pipeline) for name in pipeline.engines}
    return RandomCase(pipeline, schedule, setups, workload).with_few_blocks(rng)


def thinking_case(seed: int) -> RandomCase:
    """Some agents think before they write."""
    case, rng = random_case(seed), random.Random(seed)
    requests = [
        replace(
            request,
            thinking_tokens={agent.name: rng.choice([0, 0, 1, 7, 30]) for agent in case.pipeline},
        )
        for request in case.workload.requests
    ]
    return replace(case, workload=Workload(requests, case.workload.concurrency))


def sharing_case(seed: int) -> RandomCase:
    """Engines that share devices with each other or among their replicas; also with arrivals."""
    case, rng = random_case(seed), random.Random(seed)
    setups = {
        name: replace(
            setup, replicas=rng.randint(1, 3), device=rng.choice([None, "one", "one", "two"])
        )
        for name, setup in case.setups.items()
    }
    workload = case.workload
    if rng.random() < 0.5:
        times = sorted(rng.choice([0, 1, 10, 77, 100, 200, 333]) for _ in workload.requests)
        workload = Workload(workload.requests, arrivals_ps=times)
    return replace(case, setups=setups, workload=workload)


@cache
def input_case(seed: int) -> RandomCase:
    """Some of those that read nobody are inputs, slow and fast; also with arrivals."""
    rng = random.Random(seed)
    case = random_case(seed)
    while not proposers_of(case.pipeline):
        case = random_case(rng.randrange(10**6))
    names = proposers_of(case.pipeline)
    chosen = {rng.choice(names), *rng.sample(names, rng.randint(0, len(names)))}
    agents = tuple(
        replace(agent, engine="", arrival=_arrival(rng)) if agent.name in chosen else agent
        for agent in case.pipeline
    )
    pipeline = replace(case.pipeline, agents=agents)
    requests = [
        replace(request, fixed_tokens=_without_prompts(request.fixed_tokens, chosen))
        for request in case.workload.requests
    ]
    workload = replace(case.workload, requests=requests)
    if rng.random() < 0.3:
        times = sorted(rng.choice([0, 1, 10, 77, 100, 200, 333]) for _ in requests)
        workload = Workload(requests, arrivals_ps=times)
    schedule = replace(case.schedule, without=())
    setups = {name: case.setups.get(name) or _setup(rng, pipeline) for name in pipeline.engines}
    plain = RandomCase(pipeline, schedule, setups, workload)
    return replace(plain, setups=dict(map(_freed, setups.items()))).with_few_blocks(rng)


@cache
def update_case(seed: int) -> RandomCase:
    """Inputs that replace part of what they said, many of them while it is read."""
    case, rng = input_case(seed), random.Random(f"updates {seed}")
    agents = tuple(replace(a, max_tokens=ANY) if a.arrival else a for a in case.pipeline)
    pipeline = replace(case.pipeline, agents=agents)
    requests = [_updated(rng, pipeline, request) for request in case.workload.requests]
    schedule = replace(case.schedule, revision=rng.choice(["rewrite", "rewrite", "keep"]))
    workload = replace(case.workload, requests=requests)
    setups = dict(map(_freed, case.setups.items()))
    return RandomCase(pipeline, schedule, setups, workload).with_few_blocks(rng)


def checked_case(seed: int) -> RandomCase:
    """Texts are checked when their agents have read more; some of their sources are replaced."""
    rng = random.Random(f"checks {seed}")
    case = random_case(seed) if rng.random() < 0.7 else update_case(seed)
    schedule = replace(
        case.schedule,
        staircases={agent.name: _staircase(rng) for agent in case.pipeline.readers},
        layout=rng.choice(REBUILT_LAYOUTS),
        checked=rng.choice([None, None, 3, 8, 20]),
        show=rng.choice(["settled", "at_once"]),
    )
    requests = [
        replace(request, acceptance=EvenAcceptance(rng.choice([0, 0.5, 0.9, 0.97, 1]), number))
        for number, request in enumerate(case.workload.requests)
    ]
    workload = replace(case.workload, requests=requests)
    setups = dict(map(_freed, case.setups.items()))
    return RandomCase(case.pipeline, schedule, setups, workload).with_few_blocks(rng)


def window_case(seed: int) -> RandomCase:
    """Inputs of which only the last tokens are shown; some replace part of what they said."""
    rng = random.Random(f"windows {seed}")
    case = input_case(seed) if rng.random() < 0.6 else update_case(seed)
    tokens = rng.choice([1, 2, 3, 5, 8, 16])
    schedule = replace(
        case.schedule,
        staircases={agent.name: _staircase(rng) for agent in case.pipeline.readers},
        layout=rng.choice(REBUILT_LAYOUTS),
        window=Window(tokens, rng.choice([1, rng.randint(1, tokens), tokens])),
    )
    setups = dict(map(_freed, case.setups.items()))
    return replace(case, schedule=schedule, setups=setups).with_few_blocks(rng)


def _updated(rng: random.Random, pipeline: Pipeline, request: RequestShape) -> RequestShape:
    updates = {one.name: _updates(rng) for one in pipeline.inputs}
    stand = {name: every[-1].standing + every[-1].tokens for name, every in updates.items()}
    return replace(request, updates=updates, output_tokens={**request.output_tokens, **stand})


def _updates(rng: random.Random) -> tuple[Update, ...]:
    found, stands, now_ps = list[Update](), 0, 0
    for _ in range(rng.randint(1, 8)):
        now_ps += rng.choice([0, 1, 7, 40, 200, 1000])
        standing = rng.choice([stands, stands, rng.randint(0, stands), max(0, stands - 2)])
        found.append(Update(now_ps / 1e12, standing, rng.choice([0, 1, 3, 8, 20])))
        stands = standing + found[-1].tokens
    return tuple(found)


def _first_said(described: Pipeline | Workload) -> str:
    """What its ``repr`` was before it had fields that these cases leave as they are, so that a case
    is the same as ever."""
    of_agents = r", vote=None, items='', fork=None, template='[^']*'"
    of_requests = r", ballots={}, items={}, updates={}, acceptance=None"
    return re.sub(f"{of_agents}|{of_requests}", "", repr(described))


def _freed(named: tuple[str, BatchingSetup]) -> tuple[str, BatchingSetup]:
    """Without what was fitted to the calls of another pipeline."""
    name, setup = named
    limits = replace(setup.limits, blocks=None, enable_chunked_prefill=True)
    return name, replace(setup, limits=limits)


def peer_case(seed: int) -> RandomCase:
    """Some agents read others as peers: such as they read anyway, and such as read them."""
    rng = random.Random(f"peers {seed}")
    case = random_case(seed)
    agents = []
    for agent in case.pipeline:
        others = [one.name for one in case.pipeline if one.name != agent.name]
        more = rng.sample(others, rng.randint(0, min(2, len(others))))
        peers = tuple(dict.fromkeys([*more, *(n for n in agent.reads if rng.random() < 0.3)]))
        reads = tuple(dict.fromkeys([*agent.reads, *peers]))
        agents.append(replace(agent, reads=reads, peers=peers))
    pipeline = replace(case.pipeline, agents=tuple(agents))
    staircases = {agent.name: _staircase(rng) for agent in pipeline.readers}
    schedule = replace(case.schedule, staircases=staircases, without=())
    plain = replace(case, pipeline=pipeline, schedule=schedule)
    setups = dict(map(_freed, case.setups.items()))
    return replace(plain, setups=setups).with_few_blocks(rng)


def vote_case(seed: int) -> RandomCase:
    """On some agents somebody votes, on such as others read too; and on some votes."""
    rng = random.Random(f"votes {seed}")
    case = random_case(seed)
    pipeline = _with_votes(rng, case.pipeline)
    said = [Ballot("r", is_right=True), *map(Ballot, "rwo"), NO_BALLOT, DISCARDED]
    requests = [
        replace(request, ballots={agent.name: rng.choice(said) for agent in case.pipeline})
        for request in case.workload.requests
    ]
    barriers = [Barrier(), case.schedule.barrier, *(Barrier("ahead", k) for k in (1, 1, 2, 3))]
    at_once = rng.choice([None, 1, 2])
    schedule = replace(case.schedule, barrier=rng.choice(barriers), at_once=at_once, without=())
    setups = dict(map(_freed, case.setups.items()))
    workload = Workload(requests, case.workload.concurrency)
    return RandomCase(pipeline, schedule, setups, workload).with_few_blocks(rng)


def _with_votes(rng: random.Random, pipeline: Pipeline) -> Pipeline:
    """One that the answer reads; one that is the answer, and votes on the old one; or both."""
    vote, answer = Vote(over_tokens=rng.choice([None, None, 20])), pipeline.answer
    others = [agent.name for agent in pipeline if agent.name != answer]
    agents = list(pipeline.agents)
    if others and rng.random() < 0.8:
        names = tuple(rng.sample(others, rng.randint(min(2, len(others)), len(others))))
        agents = [
            replace(agent, reads=(*agent.reads, "v")) if agent.name == answer else agent
            for agent in agents
        ]
        agents.append(Agent("v", reads=names, max_tokens=MOST_TOKENS, vote=vote))
        others = ["v", *(name for name in others if name not in names)]
    if len(agents) == len(pipeline.agents) or rng.random() < 0.3:
        names = (answer, *rng.sample(others, rng.randint(0, len(others))))
        agents.append(Agent("w", reads=names, max_tokens=MOST_TOKENS, vote=vote))
        answer = "w"
    return Pipeline(tuple(agents), answer)


def fork_case(seed: int) -> RandomCase:
    """Items of some agents' texts start branches, which others read; some fork again."""
    return _forked(random.Random(f"forks {seed}"), random_case(seed))


def trigger_case(seed: int) -> RandomCase:
    """The same where items start some branches as soon as they have begun, and some that answer;
    items of inputs too, of which some are replaced."""
    rng = random.Random(f"triggers {seed}")
    case = _forked(rng, rng.choice([random_case, input_case, update_case, update_case])(seed))
    agents = {one.name: _triggered(rng, one) for one in case.pipeline}
    answer, requests = agents[case.pipeline.answer], list(case.workload.requests)
    if rng.random() < 0.3:
        source = rng.choice([name for name in answer.reads if name not in answer.peers])
        fork = Fork(source, rng.choice([1, 1, 2]))
        agents[answer.name] = _triggered(rng, replace(answer, fork=fork))
        agents[source] = replace(agents[source], items="x")
        items = {source: sorted(rng.randint(0, 30) for _ in range(rng.randint(0, 4)))}
        requests = [replace(one, items={**items, **one.items}) for one in requests]
    pipeline = replace(case.pipeline, agents=tuple(agents.values()))
    if rng.random() < 0.3:
        watching = [one.name for one in pipeline.readers if one.items and one.waits_for]
        requests = [
            replace(
                one,
                items={name: at for name, at in one.items.items() if name not in watching},
                read_before_item={name: rng.randint(0, 50) for name in watching},
            )
            for one in requests
        ]
    staircases = {one.name: _staircase(rng) for one in pipeline.readers}
    schedule = replace(case.schedule, staircases=staircases)
    workload = replace(case.workload, requests=requests)
    setups = dict(map(_freed, case.setups.items()))
    return RandomCase(pipeline, schedule, setups, workload).with_few_blocks(rng)


def _triggered(rng: random.Random, agent: Agent) -> Agent:
    if agent.fork is None:
        return agent
    fork = replace(
        agent.fork,
        starts_when=rng.choice(["begun", "begun", "complete"]),
        otherwise=rng.choice(["never", "never", "at_end"]),
    )
    return replace(agent, fork=fork)


def _forked(rng: random.Random, case: RandomCase) -> RandomCase:
    while not case.pipeline.readers:
        case = random_case(rng.randrange(10**6))
    pipeline, engines = case.pipeline, case.pipeline.engines
    sources = [one.name for one in pipeline.order if one.name != pipeline.answer]
    agents = {agent.name: agent for agent in pipeline}
    for source in rng.sample(sources, rng.randint(1, min(2, len(sources)))):
        branches = _branches(rng, agents, source, engines)
        if rng.random() < 0.3:
            branches += _branches(rng, agents, rng.choice(branches), engines)
        agents[pipeline.answer] = _reading(agents[pipeline.answer], branches)
    pipeline = Pipeline(tuple(agents.values()), pipeline.answer)
    requests = [_with_items(rng, request, pipeline) for request in case.workload.requests]
    staircases = {agent.name: _staircase(rng) for agent in pipeline.readers}
    able = [agent.name for agent in pipeline if agent.fork]
    without = tuple(rng.sample(able, 1)) if rng.random() < 0.2 else ()
    schedule = replace(case.schedule, staircases=staircases, without=without)
    workload = Workload(requests, case.workload.concurrency)
    setups = dict(map(_freed, case.setups.items()))
    return RandomCase(pipeline, schedule, setups, workload).with_few_blocks(rng)


def _branches(
    rng: random.Random, agents: dict[str, Agent], source: str, engines: tuple[str, ...]
) -> list[str]:
    """Adds some of ``source``, which may read others too, and gives their names."""
    agents[source] = replace(agents[source], items="x")
    names = [f"{source}.{item}" for item in range(1, rng.randint(1, 4) + 1)]
    others = [name for name, agent in agents.items() if name != source and not agent.reads]
    more = rng.sample(others, 1) if others and rng.random() < 0.3 else []
    sees = rng.choice(["text", "item"])
    for item, name in enumerate(names, start=1):
        peers = tuple(one for one in names if one != name) if rng.random() < 0.15 else ()
        agents[name] = Agent(
            name,
            rng.choice(engines),
            (source, *more, *peers),
            max_tokens=rng.randint(1, 40),
            peers=peers,
            fork=Fork(source, item, sees),  # type: ignore[arg-type]
            template=rng.choice(["", f"of {source}"]),
        )
    return names


def _reading(agent: Agent, names: list[str]) -> Agent:
    return replace(agent, reads=(*agent.reads, *names))


def _with_items(rng: random.Random, request: RequestShape, pipeline: Pipeline) -> RequestShape:
    """Lengths and texts of branches; items may begin where the text no longer comes."""
    lengths = {one.name: rng.choice([0, 1, *range(2, 40)]) for one in pipeline if one.fork}
    fixed = {
        name: rng.choice([0, 1, 3, 8])
        for one in pipeline
        if one.fork
        for name in fixed_names(one.template, one.reads)
    }
    # A prompt is never empty.
    fixed |= {f"query/{one.template}": rng.randint(1, 12) for one in pipeline if one.fork}
    items = {
        one.name: sorted(rng.randint(0, rng.choice([5, 45])) for _ in range(rng.randint(0, 6)))
        for one in pipeline
        if one.items
    }
    return replace(
        request,
        output_tokens={**request.output_tokens, **lengths},
        fixed_tokens={**fixed, **request.fixed_tokens},
        items=items,
    )


def _arrival(rng: random.Random) -> Arrival:
    """At few and small distances, like ``random_cost``."""
    per_token_ps = rng.choice([0, 1, 3, 10, 40, 100, 700])
    return Arrival(1e12 / per_token_ps if per_token_ps else None, rng.choice([1, 1, 2, 5, 16]))


def _without_prompts(fixed_tokens: Mapping[str, int], names: set[str]) -> dict[str, int]:
    return {key: tokens for key, tokens in fixed_tokens.items() if key.split("/")[1] not in names}


def _pipeline(rng: random.Random) -> Pipeline:
    drawn = rng.choice(
        [
            single(),
            chain(["a", "b", "c"]),
            moa([["a", "b", "c"]], "z"),
            moa([["a", "b"], ["c", "d"]], "z"),
            debate(["a", "b"], 2),
        ]
    )
    shared = rng.choice([None, "one", "two"])
    agents = []
    for agent in drawn:
        engine = agent.name
        if shared == "one":
            engine = "e0"
        elif shared == "two":
            engine = f"e{rng.randrange(2)}"
        agents.append(Agent(agent.name, engine, agent.reads, "", rng.randint(1, 40)))
    return Pipeline(tuple(agents), drawn.answer)


def _workload(rng: random.Random, pipeline: Pipeline) -> Workload:
    requests = [
        RequestShape(
            {
                name: rng.choice([0, 1, 3, 8, 13])
                for agent in pipeline
                for name in fixed_names(agent.name, agent.reads)
            }
            | {f"query/{agent.name}": rng.randint(1, 12) for agent in pipeline},
            {agent.name: rng.randint(0, 40) for agent in pipeline},
            rng.choice(["stop", "length"]),
        )
        for _ in range(rng.randint(1, 6))
    ]
    return Workload(requests, rng.randint(1, 4))


def with_common_prompts(workload: Workload, pipeline: Pipeline, rng: random.Random) -> Workload:
    """Queries of a small pool behind a system prompt; some go on with an earlier request's answer.

    Each agent calls its texts by names of its own, and what requests write may be told on.
    """
    pool = [TextPart(f"prompt {n}", rng.randint(1, 9)) for n in range(2)]
    system = TextPart("system", rng.choice([1, 4, 9]))
    requests: list[RequestShape] = []
    histories: list[tuple[TextPart, ...]] = []
    for number, request in enumerate(workload.requests):
        query: tuple[TextPart, ...] = (system, rng.choice(pool))
        if histories and rng.random() < 0.4:
            query = (*rng.choice(histories), TextPart(f"more {number}", rng.randint(1, 5)))
        if rng.random() < 0.2:
            # Only its beginning is common.
            query = query[:1]
        answer = TextPart(f"answer {number}", request.output_tokens[pipeline.answer])
        histories.append((*query, answer))
        parts = {
            f"query/{agent.name}": tuple(
                part._replace(name=f"{agent.name} {part.name}") for part in query
            )
            for agent in pipeline
        }
        parts[pipeline.answer] = (answer._replace(name=f"{pipeline.answer} {answer.name}"),)
        more = rng.randint(0, 3)
        lengths = {name: more + sum(part.tokens for part in own) for name, own in parts.items()}
        del lengths[pipeline.answer]
        fixed = {**request.fixed_tokens, **lengths}
        requests.append(replace(request, fixed_tokens=fixed, parts=parts))
    return replace(workload, requests=requests)


def _schedule(rng: random.Random, pipeline: Pipeline, is_timed: bool) -> Schedule:
    staircases = {agent.name: _staircase(rng) for agent in pipeline.readers}
    early_end = rng.choice(["accept", "continue"])
    layout = rng.choice(LAYOUTS)
    if not is_timed or rng.random() < 0.4:
        return Schedule(staircases, layout, early_end=early_end)  # type: ignore[arg-type]
    barrier = rng.choice(
        [
            Barrier(),
            Barrier("quorum", rng.randint(1, 3)),
            Barrier("grace", rng.randint(1, 3), rng.choice([0.0, 1e-10, 2e-9])),
        ]
    )
    return Schedule(
        staircases,
        layout,
        barrier,
        rng.choice(["exact", "latest"]),
        rng.choice(["wait", "write"]),
        early_end,  # type: ignore[arg-type]
    )


def _without(rng: random.Random, pipeline: Pipeline) -> tuple[str, ...]:
    """Mostly nobody; else a proposer, if its readers have others."""
    few = {name for agent in pipeline.readers if len(agent.reads) == 1 for name in agent.reads}
    able = [name for name in proposers_of(pipeline) if name not in few]
    return (rng.choice(able),) if able and rng.random() < 0.3 else ()


def _staircase(rng: random.Random) -> Staircase:
    small = [1, 2, 3, 5, 8, 16]
    return rng.choice(
        [
            normal(),
            constant(rng.choice([0, *small]), rng.choice(small), rng.choice(small)),
            geometric(rng.choice(small), 2.0, 16, rng.choice(small)),
            explicit([(rng.choice(small), rng.choice(small)), (20, rng.choice(small))]),
        ]
    )


def _setup(rng: random.Random, pipeline: Pipeline) -> BatchingSetup:
    limits = Limits(
        rng.choice([1, 3, 8, 64]),
        rng.choice([1, 2, 3, 8]),
        None,
        rng.choice([1, 2, 4, 7]),
        rng.random() < 0.8,
        rng.choice(["fcfs", "priority"]),
        rng.random() < 0.4,
        # Drawn apart, so that all other draws stay.
        long_prefill_token_threshold=random.Random(_first_said(pipeline)).choice(
            [None, None, 2, 5]
        ),
        prefill_first=random.Random(f"first {_first_said(pipeline)}").random() < 0.3,
    )
    priorities = tuple((agent.name, rng.randrange(3)) for agent in pipeline)
    routing = rng.choice(["least", "affine"])
    return BatchingSetup(random_cost(rng), limits, rng.choice([1, 1, 2]), routing, priorities)  # type: ignore[arg-type]


def _with_whole_prompts(limits: Limits, longest: int) -> Limits:
    """A longer call than an iteration has room for could never be computed."""
    whole = replace(limits, max_num_batched_tokens=longest + 2, enable_chunked_prefill=False)
    return replace(whole, long_prefill_token_threshold=None)


def random_cost(rng: random.Random) -> Cost:
    """Few and small numbers, so that many things happen at the same time."""
    unit = rng.choice([1, 10, 100])
    rows = 10
    knots = np.array([0, 5, 17][: rng.randint(1, 3)], dtype=np.int64)

    def some(*shape: int) -> np.ndarray:
        flat = [unit * rng.randint(0, 3) for _ in range(int(np.prod(shape)))]
        return np.array(flat, dtype=np.int64).reshape(shape)

    return Cost(
        tokens_ps=1 + np.sort(some(20)),
        sequences_ps=np.sort(some(rows)),
        decode_ps=1 + np.sort(some(rows)),
        knots=knots,
        attention_ps=some(rows, len(knots)),
        attention_slope=some(rows, len(knots)),
        chunks=np.array([1, 4, 20], dtype=np.int64),
        before=np.array([0, 8, 40], dtype=np.int64),
        decoding=np.array([0, 2, 6], dtype=np.int64),
        contexts=np.array([0, 9, 30], dtype=np.int64),
        mixed_ps=some(3, 3, 3, 3),
        pieces_ps=np.sort(some(3)),
    )
