"""What the embedded model is trained to lessen: KL from what should be drawn to what it draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

from executor.embedded.samples import Chances, TrainingSample

# How much more than another word a value counts, and what follows where one's own text was
# interrupted; how much what is asked at each claim that is read counts beside what is written.
VALUE_WEIGHT, RESTART_WEIGHT = 4, 12
MARK_WEIGHT, BELIEF_WEIGHT = 0.3, 1.0
# How sure a claim is must be known after the first layer, as the others build on it.
MARK_LAYER = 1

# A row and a place in it, and what should be drawn there.
Aims = Sequence[tuple[int, int, Chances]]


@dataclass(frozen=True)
class Loss:
    """``total`` is to go down; the others are mean KL(target ‖ model) in nats."""

    total: torch.Tensor
    at_values: float
    at_words: float


@dataclass(frozen=True)
class Losses:
    """Losses of ``model``, whose tokens are ``words``."""

    model: LlamaForCausalLM
    words: Mapping[str, int]

    def __call__(self, samples: Sequence[TrainingSample]) -> Loss:
        """What is written is a mean of KL over places, of which some count more."""
        output = self.model.model(input_ids=_padded(samples), output_hidden_states=True)
        last = output.last_hidden_state
        early = self.model.model.norm(output.hidden_states[MARK_LAYER])
        aims = list(_written(samples))
        excess = self._excess(last, aims)
        weights, is_value = _weights(samples), torch.tensor([len(aim[-1]) > 1 for aim in aims])
        total = (weights * excess).sum() / weights.sum()
        beliefs = [(n, at, aim) for n, one in enumerate(samples) for at, aim in one.beliefs.items()]
        marks = [(n, at, aim) for n, one in enumerate(samples) for at, aim in one.marks.items()]
        if beliefs:
            total = total + BELIEF_WEIGHT * self._excess(last, beliefs).mean()
            total = total + MARK_WEIGHT * self._excess(early, marks).mean()
        return Loss(total, excess[is_value].mean().item(), excess[~is_value].mean().item())

    def _excess(self, states: torch.Tensor, aims: Aims) -> torch.Tensor:
        """KL at each of ``aims``; ``states``: [rows, places, width]."""
        rows, places, targets = zip(*aims, strict=True)
        aim = torch.zeros(len(aims), len(self.words))
        for number, chances in enumerate(targets):
            aim[number, [self.words[word] for word in chances]] = torch.tensor([*chances.values()])
        logits: torch.Tensor = self.model.lm_head(states[list(rows), list(places)])
        lost: torch.Tensor = -torch.special.entr(aim) - aim * logits.float().log_softmax(-1)
        return lost.sum(-1)


def _padded(samples: Sequence[TrainingSample]) -> torch.Tensor:
    ids = torch.zeros(len(samples), max(len(one.ids) for one in samples), dtype=torch.long)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
    return ids


def _written(samples: Sequence[TrainingSample]) -> Iterator[tuple[int, int, Chances]]:
    """A word is drawn at the place before it."""
    for row, sample in enumerate(samples):
        for place, chances in sample.targets.items():
            yield row, place - 1, chances


def _weights(samples: Sequence[TrainingSample]) -> torch.Tensor:
    return torch.tensor(
        [
            1.0
            + (VALUE_WEIGHT - 1) * (len(chances) > 1)
            + (RESTART_WEIGHT - 1) * (place in sample.restarts)
            for sample in samples
            for place, chances in sample.targets.items()
        ]
    )
