"""Weights lie as a CPU reads them quickest; what they are stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from executor.inprocess.models import load_model
from executor.inprocess.weight_layout import lay_for_decoding

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
HAS_MKL = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
NEEDS_MKL = pytest.mark.skipif(not HAS_MKL, reason="this torch has no MKL, whose layers these are")


def network(**changed: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, **changed}))


def by_column(found: Any) -> set[str]:
    """The last words of the names of weights that lie column by column."""
    return {
        name.split(".")[-2]
        for name, weight in found.named_parameters()
        if weight.dim() == 2 and weight.stride() == (1, weight.shape[0])
    }


@NEEDS_MKL
def test_wide_layers_lie_by_column() -> None:
    found = network()
    lay_for_decoding(found)
    assert by_column(found) == {"gate_proj", "up_proj", "lm_head"}


@NEEDS_MKL
def test_embeddings_that_are_the_last_layer_too_lie_by_column() -> None:
    found = network(tie_word_embeddings=True)
    lay_for_decoding(found)
    assert by_column(found) == {"gate_proj", "up_proj", "embed_tokens"}
    assert found.lm_head.weight is found.model.embed_tokens.weight


def test_half_precision_stays() -> None:
    found = network().to(torch.bfloat16)
    lay_for_decoding(found)
    assert by_column(found) == set()


def test_layers_of_other_kinds_stay() -> None:
    class Quantised(torch.nn.Linear):
        pass

    found = network()
    found.lm_head.__class__ = Quantised
    lay_for_decoding(found)
    assert "lm_head" not in by_column(found)


@torch.inference_mode()
def test_values_and_logits_stay() -> None:
    plain, laid = network().eval(), network().eval()
    lay_for_decoding(laid)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, laid.get_parameter(name)), name
    ids = torch.arange(12)[None]
    torch.testing.assert_close(laid(ids).logits, plain(ids).logits)


@NEEDS_MKL
def test_a_loaded_model_is_laid() -> None:
    assert by_column(load_model("embedded", "cpu", "float32").network) >= {"gate_proj", "up_proj"}
