"""What a request says of a plan's inputs and of its agents, beside its messages."""

from __future__ import annotations

from dataclasses import replace

from executor.gateway.api.api_error import ApiError, refusal
from executor.gateway.api.ask import AnswerRequest
from staircase.pipeline import Pipeline
from staircase.workload import Question

# Stands where nobody knows yet what comes.
LIVE = "what is said"


def check_inputs(pipeline: Pipeline, ask: AnswerRequest) -> None:
    """Raises ApiError unless ``ask`` says what comes as each input, and names nobody else."""
    said = ask.conversation.question.inputs
    for name in said:
        if name not in {agent.name for agent in pipeline}:
            raise ApiError(400, "invalid_value", f"inputs: {name!r} is no agent", "inputs")
    names = [one.name for one in pipeline.inputs]
    for name in ask.live:
        if name not in names:
            known = ", ".join(names) or "none"
            raise refusal("live_inputs", f"{name!r} is no input of the plan; it has {known}")
    for one in pipeline.inputs:
        text = _text_of(pipeline, one.name, ask.conversation.question)
        if one.name not in ask.live and not text.strip():
            words = f'inputs: say what comes as {one.name!r}: "inputs": {{"{one.name}": "..."}}'
            raise ApiError(400, "missing_input", words, "inputs")


def question_of(pipeline: Pipeline, ask: AnswerRequest) -> Question:
    """As it is played: with what comes as each input."""
    question = ask.conversation.question
    coming = {
        one.name: LIVE if one.name in ask.live else _text_of(pipeline, one.name, question)
        for one in pipeline.inputs
    }
    return replace(question, inputs={**question.inputs, **coming})


def _text_of(pipeline: Pipeline, name: str, question: Question) -> str:
    """The last message, where ``name`` is the only input and nothing is said of it: clients that
    know nothing of inputs say there what they have to say."""
    is_only = len(pipeline.inputs) == 1
    return question.inputs.get(name, question.query if is_only else "")
