"""The short way to the next token's logits is taken only where it is the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from executor.inprocess.next_logits import next_logits
from tests.support.backends import VOCABULARY, random_model

IDS = torch.tensor([[5, 3, 7, 1], [2, 2, 9, 4]])


def capped() -> Any:
    """Gemma 2 caps its logits behind the output embeddings."""
    config = AutoConfig.for_model(
        "gemma2",
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=0.5,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]


@contextmanager
def counted(network: Any) -> Iterator[list[None]]:
    """An entry for every call of the whole network."""
    calls: list[None] = []
    hook = network.register_forward_hook(lambda *_: calls.append(None))
    yield calls
    hook.remove()


@pytest.mark.parametrize(
    ("network", "is_short"),
    [
        (random_model("llama", seed=7).network, True),
        (random_model("qwen3", seed=7).network, True),
        (capped(), False),
    ],
)
@torch.inference_mode()
def test_logits_are_those_of_the_whole_network(network: Any, is_short: bool) -> None:
    ways = next_logits(network)
    with counted(network) as calls:
        found = ways(3, input_ids=IDS, use_cache=False)
    assert (not calls) == is_short
    assert torch.equal(found, network(input_ids=IDS, use_cache=False, logits_to_keep=3).logits)


def test_without_output_embeddings_the_whole_network_runs() -> None:
    network = random_model("llama", seed=7).network
    network.get_output_embeddings = lambda: None
    with counted(network) as calls, torch.inference_mode():
        next_logits(network)(1, input_ids=IDS, use_cache=False)
    assert len(calls) == 1
