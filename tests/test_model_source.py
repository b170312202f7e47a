"""Where models lie: GGUF files and files of packages beside folders, embedded ones and hub ids."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from executor.embedded_models import MODEL_FOLDERS
from executor.inprocess.model_source import ModelSource, source_of
from executor.inprocess.models import LoadedModel, load_model
from staircase.errors import ModelError
from tests.support.gguf_model import write_gguf


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    """An installed package ``tiny-model`` with these files."""
    info = folder / "tiny_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(folder)


WORDS = "why is the sky blue and why is the sea salty while the rain is not"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama as ``save_pretrained`` writes it, and as a GGUF file of a package."""
    folder = tmp_path_factory.mktemp("models")
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=290, special_tokens=["<end>"], initial_alphabet=letters)
    core.train_from_iterator([WORDS], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")  # type: ignore[no-untyped-call]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    for one in (LlamaForCausalLM(config), tokenizer):
        one.save_pretrained(folder / "saved")
    (folder / "tiny_model").mkdir()
    write_gguf(folder / "saved", folder / "tiny_model" / "tiny.gguf")
    return folder


def greedy(model: LoadedModel, text: str, count: int) -> list[int]:
    ids = model.encode(text)
    for _ in range(count):
        with torch.no_grad():
            logits = model.network(torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids[-count:]


def test_a_gguf_file_is_the_model_that_was_saved(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(saved, monkeypatch, "tiny_model/tiny.gguf")
    one = load_model(str(saved / "saved"), "cpu", "float32")
    file = str(saved / "tiny_model" / "tiny.gguf")
    for name in (file, "package:tiny-model/tiny_model/tiny.gguf"):
        other = load_model(name, "cpu", "float32")
        assert other.encode(WORDS) == one.encode(WORDS)
        assert greedy(other, WORDS, 24) == greedy(one, WORDS, 24)


def test_sources(tmp_path: Path) -> None:
    assert source_of("embedded") == ModelSource(str(MODEL_FOLDERS["embedded"]))
    assert source_of("someone/some-model") == ModelSource("someone/some-model")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "m.gguf").write_text("")
    assert source_of(str(tmp_path)) == ModelSource(str(tmp_path))
    found = source_of(str(tmp_path / "m.gguf"))
    assert (found.place, found.options) == (str(tmp_path), {"gguf_file": "m.gguf"})
    assert found.file == tmp_path / "m.gguf"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.gguf", "no such file"),
        ("./nowhere", "no such folder with a config.json"),
        ("package:tiny-model", "must be package:NAME/PATH"),
        ("package:no-such-package/x.gguf", "pip install no-such-package; it is not installed"),
        ("package:tiny-model/x.gguf", "the package has no x.gguf; it has tiny_model/tiny.gguf"),
    ],
)
def test_what_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    package(tmp_path, monkeypatch, "tiny_model/tiny.gguf")
    with pytest.raises(ModelError, match=f"model '{name}': {said}"):
        source_of(name)


def test_a_file_that_is_no_gguf_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("words")
    with pytest.raises(ModelError, match=r"m\.gguf' cannot be loaded: "):
        load_model(str(tmp_path / "m.gguf"), "cpu", "float32")
