"""Models from a folder or a hub id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from executor.embedded import MODEL_FOLDER
from staircase.errors import ModelError


@dataclass(frozen=True)
class LoadedModel:
    """A network and its tokenizer.

    Attributes:
        vocabulary: models with the same value share token ids.
        end_ids: tokens with which the model ends its text.
    """

    network: Any
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    vocabulary: str
    end_ids: frozenset[int]

    @property
    def vocabulary_size(self) -> int:
        """Tokens below this have an embedding."""
        return int(self.network.get_input_embeddings().weight.shape[0])

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


def load_model(name: str, device: str, dtype: str) -> LoadedModel:
    """Loads ``embedded``, a folder, or a hub id.

    Raises:
        ModelError: there is no such model, or no such device.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = str(MODEL_FOLDER) if name == "embedded" else name
    _check_folder(source)
    network: Any
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        network = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"model {name!r} cannot be loaded: {reason}") from None
    return LoadedModel(
        network.to(_device(device)).eval(), tokenizer, _device(device), source, _ends(network)
    )


def _check_folder(source: str) -> None:
    looks_like_path = source.startswith((".", "/", "~")) or Path(source).exists()
    if looks_like_path and not (Path(source) / "config.json").is_file():
        raise ModelError(
            f"model {source!r}: no such folder with a config.json; "
            "give a folder written by save_pretrained, or a hub id"
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is none that torch knows; say 'cpu' or 'cuda'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {name!r}: torch sees no CUDA GPU on this machine")
    return device


def _ends(network: Any) -> frozenset[int]:
    ends = network.generation_config.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)
