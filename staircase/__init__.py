"""Staircase: how early may the last model start to write, and what does that cost?

The language of the project: pipelines, schedules, prompts, the conductor, timelines, scenarios.
"""

from staircase.errors import EngineError, InputError, StaircaseError
from staircase.pipeline import Agent, Pipeline, chain, debate, moa, single
from staircase.schedule import (
    Barrier,
    Schedule,
    Staircase,
    Step,
    Window,
    constant,
    explicit,
    geometric,
    normal,
    paper_default,
    uniform,
)
from staircase.timeline import Span, Timeline
from staircase.workload import Question, RequestShape, Workload

__all__ = [
    "Agent",
    "Barrier",
    "EngineError",
    "InputError",
    "Pipeline",
    "Question",
    "RequestShape",
    "Schedule",
    "Span",
    "Staircase",
    "StaircaseError",
    "Step",
    "Timeline",
    "Window",
    "Workload",
    "chain",
    "constant",
    "debate",
    "explicit",
    "geometric",
    "moa",
    "normal",
    "paper_default",
    "single",
    "uniform",
]
