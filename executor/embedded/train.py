"""Trains an embedded model: ``python -m executor.embedded.train`` (seeded).

One Llama-type model of 0.8 M parameters plays all roles of a bulletin desk. ``--model
embedded-hard`` trains the one of the hard desk.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import torch
from rich.progress import track
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from executor.embedded.losses import Losses
from executor.embedded.ordered_desk import ORDERED
from executor.embedded.samples import (
    END,
    SPECIAL,
    TrainingSample,
    editor_sample,
    reporter_sample,
)
from executor.embedded.scattered_desk import SCATTERED
from executor.embedded.task import Task
from executor.embedded_models import MODEL_FOLDERS
from executor.tokens.rendering import Encode

POOL = 8  # Steps drawn at once, to sort their samples by length.
EASY_STEPS = 96  # Of easy samples, at the start.
MUON_RATE, ADAM_RATE = 0.02, 8e-3


@dataclass(frozen=True)
class Lesson:
    """What a model is trained for, and how long: samples of a step, and steps."""

    task: Task
    editors: int
    reporters: int
    steps: int

    def share_of_rate(self, step: int) -> float:
        """Linear warm-up over 50 steps, then linearly to 1 %."""
        return min((step + 1) / 50, 0.01 + 0.99 * (self.steps - step) / self.steps)


LESSONS = {
    "embedded": Lesson(ORDERED, editors=9, reporters=10, steps=1600),
    "embedded-hard": Lesson(SCATTERED, editors=14, reporters=8, steps=1700),
}


def build_tokenizer(task: Task) -> PreTrainedTokenizerFast:
    """One token a word."""
    words = {word: number for number, word in enumerate([*SPECIAL, *task.vocabulary()])}
    core = Tokenizer(WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token=END
    )


def build_model(vocabulary_size: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        # With the usual 0.02 it starts to look things up much later (docs/log.md).
        initializer_range=0.03,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index("<pad>"),
    )
    return LlamaForCausalLM(config)


def build_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [tensor for name, tensor in named if tensor.ndim == 2 and "embed" not in name]
    others = [tensor for name, tensor in named if tensor.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.0),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(lesson: Lesson, seed: int, folder: Path) -> None:
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(lesson.task)
    words = tokenizer.get_vocab()
    model = build_model(len(tokenizer))
    encode = partial(_encode, words)
    batches = draw_batches(lesson, random.Random(seed), encode)
    log = Log()
    optimizers = build_optimizers(model)
    schedulers = [LambdaLR(each, lesson.share_of_rate) for each in optimizers]
    for step in track(range(lesson.steps), "training a bulletin desk"):
        editors, reporters = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            edited, told = Losses(model, words)(editors), Losses(model, words)(reporters)
        model.zero_grad()
        (edited.total + told.total).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        log.add(step + 1, edited.at_values, edited.at_words, told.at_words)
    save(model, tokenizer, folder)


class Log:
    """A line every 100 steps."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.started = time.perf_counter(), time.process_time()

    def add(self, step: int, *row: float) -> None:
        self.rows.append(row)
        if step % 100:
            return
        values, words, reports = (sum(column) / 100 for column in zip(*self.rows, strict=True))
        wall_s, cpu_s = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        print(
            f"step {step}: KL to Bayes' rule {values:.4f}, other words {words:.4f}, "
            f"reports {reports:.4f}; {wall_s:.0f} s, {cpu_s:.0f} s of CPU",
            flush=True,
        )
        self.rows.clear()


def draw_batches(
    lesson: Lesson, rng: random.Random, encode: Encode
) -> Iterator[tuple[list[TrainingSample], list[TrainingSample]]]:
    """What the editor and the correspondents learn from in each step; editors of similar length."""
    for number in count():
        is_easy = number * POOL < EASY_STEPS
        pool = [
            editor_sample(lesson.task, rng, encode, is_easy) for _ in range(POOL * lesson.editors)
        ]
        pool.sort(key=lambda sample: len(sample.ids))
        starts = list(range(0, len(pool), lesson.editors))
        rng.shuffle(starts)
        for start in starts:
            reporters = [reporter_sample(lesson.task, rng, encode) for _ in range(lesson.reporters)]
            yield pool[start : start + lesson.editors], reporters


def _encode(words: Mapping[str, int], text: str) -> list[int]:
    return [words[word] for word in text.split()]


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=LESSONS, default="embedded")
    parser.add_argument("--steps", type=int, help="fewer of them, for a try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lesson = LESSONS[arguments.model]
    lesson = replace(lesson, steps=arguments.steps or lesson.steps)
    train(lesson, arguments.seed, arguments.out or MODEL_FOLDERS[arguments.model])


if __name__ == "__main__":
    main()
