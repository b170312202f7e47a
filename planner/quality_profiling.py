"""Measures the quality profile of a scenario's pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from executor.bench import Bench, read_dataset
from executor.measure_quality import profile_quality
from executor.measure_scores import PROBES, ScoreProbe, check_finished
from executor.runtime import Job
from executor.scores import answer_scorer
from planner.profiling import Track, no_track
from profiles.quality import QualityProfile
from profiles.store import provenance_of_now
from staircase.errors import ScenarioError
from staircase.pipeline import Pipeline
from staircase.scenario import Scenario
from staircase.schedule import Schedule

# The task's score is played for one in so many of the sampled requests: it takes the most time.
SCORED = 2


def check_quality(bench: Bench, pipeline: Pipeline) -> None:
    """Measuring quality needs every model's probabilities, over one vocabulary.

    Raises:
        ScenarioError: a server does not tell them, or agents have different vocabularies.
    """
    for agent in pipeline:
        if agent.engine not in bench.scorers:
            raise ScenarioError(
                f"engine {agent.engine!r}: its server does not tell log-probabilities of prompts "
                "given as token ids (vLLM's prompt_logprobs, or echo with logprobs), or the "
                "scenario names no tokenizer for it; quality needs both"
            )
    if not bench.can_score(pipeline):
        raise ScenarioError(
            "engines: quality needs agents that share one vocabulary; these have several"
        )


def make_quality(
    scenario: Scenario, folder: Path, bench: Bench, track: Track = no_track
) -> QualityProfile:
    """Plays sampled requests in full and scores them again with less read."""
    pipeline, count = scenario.pipeline.build(), scenario.profile.requests
    scorer = answer_scorer(scenario.requests, folder)
    check_quality(bench, pipeline)
    questions = read_dataset(scenario, folder, count, offset=0)
    step = track("quality: full answers", count)
    jobs = [Job(pipeline, Schedule(), question) for question in questions]
    outcomes = bench.runtime.run(jobs, on_done=lambda _: step())
    check_finished(outcomes)
    scores = [
        scorer(question, outcome.texts[pipeline.answer])
        for question, outcome in zip(questions, outcomes, strict=True)
    ]
    profile = profile_quality(
        pipeline,
        bench.scorers_of(pipeline),
        outcomes,
        scenario.profile.read_levels,
        provenance_of_now(scenario.profile.model_dump(mode="json")),
        scores,
        track("quality: the same with less read", count),
    )
    if None in scores:
        return profile
    answering = bench.scorers_of(pipeline)[pipeline.answer]
    probe = ScoreProbe(pipeline, bench.runtime.served, answering, scorer)
    some = -(-count // SCORED)
    step = track("quality: task scores", some * PROBES)
    return replace(profile, score_fit=probe.measure(questions[:some], outcomes[:some], step))
