"""Files are written as a whole or not at all, and what is wrong with one is told in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from executor.inprocess.model_source import source_of
from executor.openai.environment import certificates
from profiles.store import load, save
from staircase.errors import InputError, ModelError, ProfileError, RecordError, ScenarioError
from staircase.files import named_path, parse_json, read_text, write_text
from staircase.records import read_records


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"plan.json: cannot be written \(No space left"):
        write_text(path, "new")
    assert [found.name for found in tmp_path.iterdir()] == ["plan.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_half_a_pair_is_not_written(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "x", text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\0b", "n" * 300, "\ud800"])
def test_names_that_no_file_has_are_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        read_text(tmp_path / name, ProfileError, "a profile")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / name, "x")


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a user names one: models, certificates, questions, profiles, traces."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert named_path("~/f", Path("beside")) == tmp_path / "f"
    assert named_path("f", Path("beside")) == Path("beside", "f")
    assert named_path("~nobody-has-it/f", Path("beside")) == Path("beside/~nobody-has-it/f")
    assert source_of("~").place == str(tmp_path)
    with pytest.raises(ModelError, match="~nobody-has-it/f': no such folder"):
        source_of("~nobody-has-it/f")
    with pytest.raises(ScenarioError, match=f"ca_file: {tmp_path}/none.pem: cannot be read"):
        certificates("~/none.pem", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 3000, "f: not JSON"),
        ("{", "f: not JSON"),
        (r'{"a": "\ud800"}', "f: a lone surrogate"),
        (r'{"\udfff": 1}', "f: a lone surrogate"),
        ("9" * 5000, "f: not JSON"),
    ],
)
def test_what_is_no_json_is_told(text: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said) as error:
        parse_json(text, ProfileError, "f")
    assert "\n" not in str(error.value)


def test_a_whole_pair_is_a_character() -> None:
    assert parse_json(r'"\ud83d\ude00"', ProfileError, "f") == "\U0001f600"


@pytest.mark.parametrize("text", ["[" * 3000, r'{"schema": "\ud800"}', "[]", "{}", "1"])
def test_profiles_and_records_that_are_none_are_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"file\.json"):
        load(path, "schema/1", int, ProfileError)
    with pytest.raises(RecordError, match=r"file\.json"):
        read_records(path)
    save(path, "schema/1", 3, int)
    assert load(path, "schema/1", int, ProfileError) == 3


def test_records_have_finite_times(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text('{"ttft_s": Infinity, "token_s": []}')
    with pytest.raises(RecordError, match=r"record.jsonl: ttft_s: must be finite"):
        read_records(path)
