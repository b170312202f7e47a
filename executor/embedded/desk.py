"""A bulletin desk, played on one model: correspondents write, the editor reads by a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from executor.embedded import samples, task
from executor.embedded.task import FIELD_OF, FIELDS, Bulletin, Record, Task
from executor.embedded_models import FORMAT
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.replay_engine import ReplayEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Segment
from staircase.schedule import Schedule
from staircase.workload import Question

SLOTS = 16
REPORT_TOKENS, BULLETIN_TOKENS = 224, 128


@dataclass(frozen=True)
class PlayedBulletin:
    """One bulletin, played.

    Attributes:
        likely: the most probable value of each field by the claims that stood before its place
            when the editor wrote there: nobody could do better.
        ids: what each correspondent wrote, as token ids.
    """

    bulletin: Bulletin
    reports: dict[str, str]
    answer: str
    likely: Record
    ids: dict[str, Sequence[int]]

    @property
    def told(self) -> Record:
        """What the answer says of each field."""
        return {claim.field: claim.value for claim in task.read_claims(self.answer.split())}

    @property
    def score(self) -> float:
        return task.shared_fields(self.told, self.bulletin.record)

    @property
    def ceiling(self) -> float:
        return task.shared_fields(self.likely, self.bulletin.record)

    def alone(self, name: str) -> float:
        """What Bayes' rule makes of one report."""
        claims = task.read_claims(self.reports[name].split())
        return task.shared_fields(self.bulletin.task.bayes_bulletin(claims), self.bulletin.record)


def play(
    model: LoadedModel,
    bulletins: Sequence[Bulletin],
    schedule: Schedule,
    told: Sequence[PlayedBulletin] = (),
) -> list[PlayedBulletin]:
    """Plays ``bulletins``, all of the same correspondents.

    Args:
        told: the same bulletins as they were played before; their reports are recited.
    """
    names = list(bulletins[0].notes)
    with Device() as device:
        engine = BatchingEngine(model, device, SLOTS)
        served = {"model": ServedModel(engine, FORMAT)}
        for name in names if told else []:
            replay = ReplayEngine(device, engine, [game.ids[name] for game in told])
            served[name] = ServedModel(replay, FORMAT)
        pipeline = _pipeline(names, is_recited=bool(told))
        jobs = [
            Job(pipeline, schedule, Question(samples.EDITOR_QUERY, bulletin.inputs()))
            for bulletin in bulletins
        ]
        outcomes = Runtime(served).run(jobs, concurrency=SLOTS)
    return [_game(*both) for both in zip(bulletins, outcomes, strict=True)]


def _pipeline(names: Sequence[str], is_recited: bool) -> Pipeline:
    correspondents = (
        Agent(
            name,
            engine=name if is_recited else "model",
            role=samples.REPORTER_ROLE,
            max_tokens=REPORT_TOKENS,
        )
        for name in names
    )
    editor = Agent("editor", "model", tuple(names), samples.EDITOR_ROLE, BULLETIN_TOKENS)
    return Pipeline((*correspondents, editor), "editor")


def _game(bulletin: Bulletin, outcome: Outcome) -> PlayedBulletin:
    names = list(bulletin.notes)
    reports = {name: outcome.texts[name] for name in names}
    ids = {name: outcome.ids[name] for name in names}
    likely = _likely(bulletin.task, reports, outcome)
    return PlayedBulletin(bulletin, reports, outcome.texts["editor"], likely, ids)


def _likely(one: Task, reports: dict[str, str], outcome: Outcome) -> Record:
    """Of each place by the prompt of the last call that began to write before it."""
    own = one.bulletin_text({name: FIELDS[name][0] for name in FIELDS}).split()
    words = {name: text.split() for name, text in reports.items()} | {"editor": own}
    chances: list[samples.Chances] = [{}] * len(own)
    for call in outcome.calls:
        if call.agent == "editor":
            rest = call.prompt.extended(Segment("editor", call.written, len(own)))
            found = [chance for _, chance in samples.editor_targets(rest, words)]
            chances[call.written :] = found[call.written :]
    return dict(_values(chances))


def _values(chances: Iterable[samples.Chances]) -> Iterable[tuple[str, str]]:
    for here in chances:
        value = max(here, key=here.__getitem__)
        if len(here) > 1:
            yield FIELD_OF[value], value
