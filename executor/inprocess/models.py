"""Models with their weights or with random ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from executor.guarding import in_words
from executor.inprocess.masks import other_kinds
from executor.inprocess.model_source import ModelSource, source_of
from executor.inprocess.weight_layout import lay_for_decoding
from executor.tokens.byte_tokenizer import ByteTokenizer
from executor.tokens.token_ids import (
    ContentEncoder,
    ids_below,
    special_ids_of,
    vocabulary_of,
)
from staircase.errors import ModelError

Weights = Literal["file", "dummy"]


class Tokenizer(Protocol):
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> Any: ...


@dataclass(frozen=True)
class LoadedModel:
    """A network and its tokenizer.

    Attributes:
        vocabulary: models with the same value share token ids.
        end_ids: tokens with which the model ends its text.
        threads: that compute its passes on a CPU.
        written_below: no token from this one on is ever written, as the tokenizer knows none there;
            None: every token that has an embedding is.
    """

    network: Any
    tokenizer: Tokenizer
    device: torch.device
    vocabulary: str
    end_ids: frozenset[int]
    threads: int = 1
    written_below: int | None = None

    @property
    def vocabulary_size(self) -> int:
        """Tokens below this have an embedding."""
        return int(self.network.get_input_embeddings().weight.shape[0])

    @property
    def other_layers(self) -> list[str]:
        """Kinds of its layers whose cache cannot be cut back to fewer tokens."""
        return other_kinds(self.network.config.get_text_config())

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_content(self, text: str) -> list[int]:
        return self._contents.encode(text)

    @property
    def special_ids(self) -> frozenset[int]:
        return self._special_ids

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return special_ids_of(self.tokenizer)

    @cached_property
    def _contents(self) -> ContentEncoder:
        return ContentEncoder(self.tokenizer)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def spell(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def load_model(name: str, device: str, dtype: str, weights: Weights = "file") -> LoadedModel:
    """Loads what ``source_of`` finds; of ``dummy`` weights only the config is read.

    A model with dummy weights costs the same time as the real one and writes nonsense: it never
    ends its text, and has a byte tokenizer if there is no other.

    Raises:
        ModelError: there is no such model, or no such device.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # It would log every try to reach the Hub; the error says what matters.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    source, place = source_of(name), _device(device)
    load = _dummy if weights == "dummy" else _stored
    with _loading(f"model {name!r}"):
        model = load(source, place, getattr(torch, dtype))
        lay_for_decoding(model.network)
    return model


@contextmanager
def _loading(what: str) -> Iterator[None]:
    """Whatever the libraries say to a model's files is a ModelError of one line."""
    try:
        yield
    except Exception as error:  # which are too many to name: see _is_of_files
        if not _is_of_files(error):
            raise
        raise ModelError(f"{what} cannot be loaded: {_reason(error)}") from None


def _stored(source: ModelSource, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    tokenizer: Any = AutoTokenizer.from_pretrained(source.place, **source.options)
    network: Any = AutoModelForCausalLM.from_pretrained(source.place, dtype=dtype, **source.options)
    ends = _ends(network)
    # Embeddings are often padded; another model that shares the tokenizer may have fewer.
    known = max(ids_below(tokenizer), *(end + 1 for end in ends), 0)
    vocabulary = vocabulary_of(tokenizer)
    return LoadedModel(
        network.to(device).eval(), tokenizer, device, vocabulary, ends, written_below=known
    )


def _dummy(source: ModelSource, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """The same random weights every time, made where and as they stay."""
    config, is_there = _config(source)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        network: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    tokenizer, vocabulary, known = _tokenizer_or_bytes(
        source, config.get_text_config().vocab_size, is_there
    )
    return LoadedModel(
        network.eval(), tokenizer, device, vocabulary, frozenset(), written_below=known
    )


def _config(source: ModelSource) -> tuple[Any, bool]:
    """Also whether it was on this machine already; the Hub is asked only if not."""
    try:
        return AutoConfig.from_pretrained(
            source.place, local_files_only=True, **source.options
        ), True
    except OSError:
        return AutoConfig.from_pretrained(source.place, **source.options), False


def _tokenizer_or_bytes(
    source: ModelSource, size: int, is_there: bool
) -> tuple[Tokenizer, str, int]:
    """Also its vocabulary, and below what its ids are; the Hub is asked unless ``is_there``."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            source.place, local_files_only=is_there, **source.options
        )
    except (OSError, ValueError, ImportError):
        return ByteTokenizer(size), f"bytes below {size}", size
    return tokenizer, vocabulary_of(tokenizer), ids_below(tokenizer)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of what ``source_of`` finds.

    Raises:
        ModelError: there is none, or it cannot say where in a text its tokens stand.
    """
    source = source_of(name)
    with _loading(f"tokenizer {name!r}"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.place, **source.options
        )
    if not tokenizer.is_fast:
        raise ModelError(f"tokenizer {name!r}: needs a tokenizer.json; this one has none")
    return tokenizer


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is none that torch knows; say 'cpu' or 'cuda'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {name!r}: torch sees no CUDA GPU on this machine")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ModelError(f"device {name!r}: torch sees {count} CUDA GPUs, counted from cuda:0")
    return device


def _is_of_files(error: Exception) -> bool:
    """Whether it may come from what stands in a model's files."""
    # Weights of other shapes, keys that are missing, sizes of 0, files that end too early, and
    # libraries that are not installed; tokenizers raises nothing narrower than Exception.
    kinds = OSError, ValueError, RuntimeError, LookupError, ArithmeticError, ImportError
    more = TypeError, AttributeError, AssertionError, SafetensorError, StrictDataclassError
    return type(error) is Exception or isinstance(error, (*kinds, *more))


def _reason(error: Exception) -> str:
    """The line that tells what is wrong: a config's checks say it in the cause."""
    if isinstance(error, LookupError):
        # Its words are the key alone.
        return in_words(error)
    words = str(error.__cause__ if isinstance(error, StrictDataclassError) else error)
    return (words.strip() or type(error).__name__).splitlines()[0]


def _ends(network: Any) -> frozenset[int]:
    ends = network.generation_config.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)
