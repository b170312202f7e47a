"""What full reading would have shown, where a schedule left drafts unfinished.

Once an answer is complete, nobody reads on, and the drafts are cancelled. From such a run alone it
is not known what was missed; a fully read run of the same question tells.
"""

from __future__ import annotations

from dataclasses import replace

from executor.runtime import Outcome
from staircase.pipeline import Pipeline


def has_cut_drafts(pipeline: Pipeline, outcome: Outcome) -> bool:
    """Whether an agent that reads nobody was cancelled."""
    writers = {agent.name for agent in pipeline if not agent.reads}
    spans = outcome.timeline.spans
    return any(span.agent in writers and span.reason == "cancelled" for span in spans)


def with_whole_drafts(pipeline: Pipeline, outcome: Outcome, full: Outcome) -> Outcome:
    """``outcome`` with its drafts continued as in ``full``, which played the same question.

    Drafts of agents that read nobody; one that went another way there (a server without seeds)
    stays as it is.
    """
    ids, texts = dict(outcome.ids), dict(outcome.texts)
    for agent in pipeline:
        draft, whole = ids[agent.name], full.ids[agent.name]
        if not agent.reads and list(whole[: len(draft)]) == list(draft):
            ids[agent.name], texts[agent.name] = whole, full.texts[agent.name]
    return replace(outcome, ids=ids, texts=texts)
