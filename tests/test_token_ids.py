"""Tokenizers are the same if they give and take the same token ids, wherever they lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from executor.draws import TextPosition
from executor.inprocess.models import load_model, load_tokenizer
from executor.inprocess.sampling import GREEDY, Chooser, Sampling
from executor.tokens.token_ids import vocabulary_of
from tests.support.four_models import save_four_models, save_tokenizer
from tests.support.letter_model import LETTERS


def vocabulary(folder: Path, letters: str = LETTERS, added: tuple[str, ...] = ()) -> str:
    folder.mkdir()
    save_tokenizer(folder, letters, added)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return vocabulary_of(load_tokenizer(str(folder)))


def test_the_name_of_the_folder_is_nothing_to_it(tmp_path: Path) -> None:
    assert vocabulary(tmp_path / "one") == vocabulary(tmp_path / "two")


@pytest.mark.parametrize(
    ("letters", "added"), [(LETTERS[::-1], ()), (LETTERS[:-1], ()), (LETTERS, ("<end>",))]
)
def test_other_tokens_are_another_vocabulary(
    tmp_path: Path, letters: str, added: tuple[str, ...]
) -> None:
    assert vocabulary(tmp_path / "one") != vocabulary(tmp_path / "two", letters, added)


def test_a_server_with_the_tokenizer_shares_ids_with_the_model(tmp_path: Path) -> None:
    save_four_models(tmp_path, tokenizers=1)
    models = [load_model(str(tmp_path / name), "cpu", "float32") for name in ("first", "second")]
    told = vocabulary_of(load_tokenizer(str(tmp_path / "third")))
    assert {model.vocabulary for model in models} == {told}
    assert models[1].vocabulary_size > models[0].vocabulary_size
    assert models[1].written_below == models[0].vocabulary_size


def test_ids_with_gaps_are_all_written(tmp_path: Path) -> None:
    """The highest id is then more than the number of tokens tells."""
    save_four_models(tmp_path, tokenizers=1)
    place = tmp_path / "second"
    content = json.loads((place / "tokenizer.json").read_text())
    last = max(content["model"]["vocab"], key=content["model"]["vocab"].get)
    content["model"]["vocab"][last] += 5
    (place / "tokenizer.json").write_text(json.dumps(content))
    for weights in ("file", "dummy"):
        assert load_model(str(place), "cpu", "float32", weights).written_below == len(LETTERS) + 5


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0)])
def test_no_token_is_written_that_the_tokenizer_does_not_know(sampling: Sampling) -> None:
    chooser = Chooser(sampling, below=3)
    logits = torch.tensor([[0.0, 2.0, 1.0, 50.0, 60.0]] * 8)
    places = [TextPosition("a", number) for number in range(8)]
    assert max(chooser.tokens(chooser.in_pass(logits), places)) < 3
