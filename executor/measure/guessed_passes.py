"""In what passes a text is written where its engine looks up how it goes on.

A guess is kept while it is the text, so a text that is known is looked up again, without its model:
it does not matter how it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from executor.engine import EngineCall, Tokens
from executor.inprocess.guesses import Guesses
from executor.inprocess.prompt_lookup import PromptLookup
from executor.prefix import common_prefix
from executor.prompts.as_read import as_read
from executor.runtime import Outcome
from profiles.guessed_passes import Pass
from staircase.timeline import Span

# What ends a text; no guess holds it, though the model may give it in the pass of one.
END = -1


def passes_of(
    call: EngineCall, text: Sequence[int], lookup: PromptLookup, vocabulary_size: int
) -> Iterator[Pass]:
    """In their order; the first one ends the prefill.

    Args:
        text: what follows the call's prompt, with ``END`` where the model ended it.
    """
    guesses, left = Guesses(call, lookup, vocabulary_size), list(text)
    most = call.max_tokens
    while left:
        guess = guesses.next(most - 1)
        given = left[: common_prefix(guess, left) + 1]
        for token in given:
            guesses.add(token)
        most -= len(given)
        del left[: len(given)]
        yield Pass(1 + len(guess), len(given))


@dataclass(frozen=True)
class PassCounter:
    """Counts the passes of requests.

    Attributes:
        tokens: by agent, of its engine.
        lookups: of the agents whose engine looks up how texts go on.
        vocabulary_sizes: of these.
    """

    tokens: Mapping[str, Tokens]
    lookups: Mapping[str, PromptLookup]
    vocabulary_sizes: Mapping[str, int]

    def of(self, outcome: Outcome) -> dict[str, tuple[Pass, ...]]:
        """By agent, of those that wrote their text in one call and did not think."""
        found = {}
        for agent in self.lookups:
            spans = [span for span in outcome.timeline.spans if span.agent == agent]
            if len(spans) == 1 and not spans[0].thinking_tokens:
                found[agent] = tuple(self._passes(outcome, spans[0]))
        return {agent: passes for agent, passes in found.items() if passes}

    def _passes(self, outcome: Outcome, span: Span) -> Iterator[Pass]:
        call = next(call for call in outcome.calls if call.number == span.call)
        read = as_read(self.tokens, call.agent, call.prompt, outcome.ids)
        prompt = [token for _, tokens in read for token in tokens]
        text = [*outcome.ids[call.agent], *([END] if span.reason == "stop" else [])]
        return passes_of(
            EngineCall((0, 0), prompt, call.max_tokens),
            text,
            self.lookups[call.agent],
            self.vocabulary_sizes[call.agent],
        )
