"""What was measured so far is kept, whatever becomes of its file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from executor.line_log import ItemLog, LineLog
from executor.measure.grid_points import Decode, Mixed, Prefill
from executor.measure.measurements import Sample
from executor.measure.sample_log import SampleLog
from profiles.store import content_hash
from staircase.errors import InputError

SAMPLES = (
    Sample(Prefill(4, 0), (0.25, 0.5), 0.125, 1.0),
    Sample(Decode(2, 16), (), 0.0, 0.5),
    Sample(Mixed(8, 1, 16), (0.1,), 0.0, 0.5),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = SampleLog(LineLog(tmp_path / "some" / "it.jsonl", ["a", "b"]))
    for sample in SAMPLES:
        log.append("a", sample)
    return tmp_path / "some" / "it.jsonl"


def test_comes_back_as_it_was(path: Path) -> None:
    lines = LineLog(path, ["a", "b"])
    log = SampleLog(lines)
    assert log.samples("a") == list(SAMPLES)
    assert log.samples("b") == []
    assert lines.notes == []
    lines.remove()
    assert not path.exists()


def test_of_something_else_is_told(path: Path) -> None:
    lines = LineLog(path, ["b"])
    assert lines.notes == [
        f"{path}: 3 samples are of another engine or scenario; they are not used"
    ]
    assert SampleLog(lines).samples("b") == []


def test_edited_is_told(path: Path) -> None:
    path.write_text(path.read_text().replace("0.25", "0.2", 1))
    lines = LineLog(path, ["a"])
    assert lines.notes == [f"{path}: 1 samples were edited; they are not used"]
    assert SampleLog(lines).samples("a") == list(SAMPLES[1:])


def test_half_a_line_is_what_an_interrupt_leaves(path: Path) -> None:
    path.write_text(path.read_text()[:-20])
    lines = LineLog(path, ["a"])
    assert lines.notes == []
    SampleLog(lines).append("a", SAMPLES[2])
    assert SampleLog(LineLog(path, ["a"])).samples("a") == list(SAMPLES)


def kept(path: Path) -> list[Sample]:
    return SampleLog(LineLog(path, ["a"])).samples("a")


def test_a_whole_line_without_an_end_is_kept(path: Path) -> None:
    """As an editor may leave it; the next one is not glued to it."""
    path.write_bytes(path.read_bytes().rstrip())
    log = SampleLog(LineLog(path, ["a"]))
    assert log.samples("a") == list(SAMPLES)
    log.append("a", SAMPLES[0])
    assert kept(path) == [*SAMPLES, SAMPLES[0]]


def test_to_read_changes_nothing(path: Path) -> None:
    """What was finished must not depend on a write that may fail, nor on who only looks."""
    half = path.read_bytes()[:-20]
    path.write_bytes(half)
    assert kept(path) == list(SAMPLES[:2])
    assert path.read_bytes() == half


def test_what_cannot_be_used_stays_as_it_was(path: Path) -> None:
    """Bytes that are no text too; only half a line is cut off, when the next one comes."""
    odd = b'\xff\xfe{"key": "a"}\r\n'
    path.write_bytes(odd + path.read_bytes()[:-20])
    SampleLog(LineLog(path, ["a"])).append("a", SAMPLES[2])
    assert path.read_bytes().startswith(odd)
    assert kept(path) == list(SAMPLES)


def hashed(content: dict[str, object]) -> str:
    return json.dumps({**content, "hash": content_hash(content)})


NO_LINES = {
    "list": "[]",
    "longer list": "[1]",
    "number": "3",
    "text": '"x"',
    "null": "null",
    "nothing in it": "{}",
    "wrong hash": '{"hash": 1}',
    "deep": "[" * 10**5,
    "many digits": "9" * 5000,
    "empty": "",
    "end of line of others": "\x85",
    "zero": "\0",
    "key that is none": hashed({"key": []}),
    "no key": hashed({"name": "x"}),
    "half a pair": '{"key": "\\ud800", "hash": ""}',
}


@pytest.mark.parametrize("line", NO_LINES.values(), ids=NO_LINES)
def test_lines_of_something_else_are_counted(path: Path, line: str) -> None:
    stored = path.read_text().split("\n")
    path.write_text("\n".join([stored[0], line, *stored[1:]]), encoding="utf-8")
    assert LineLog(path, ["a"]).notes == [f"{path}: 1 samples were edited; they are not used"]
    assert kept(path) == list(SAMPLES)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "Prefill", "place": {"new_tokens": 4}},
        {"name": [], "item": {}},
        {"name": "x"},
        {"name": "x", "item": {"place": 3}},
    ],
)
def test_lines_of_another_version_are_measured_again(
    path: Path, content: dict[str, object]
) -> None:
    path.write_text(hashed({"key": "a", **content}) + "\n" + path.read_text())
    assert kept(path) == list(SAMPLES)


def test_a_name_that_is_taken_is_not_given_again(path: Path) -> None:
    """Where the first sample cannot be used, the number of them is the name of the last."""
    path.write_text(path.read_text().replace("0.25", "0.2", 1))
    SampleLog(LineLog(path, ["a"])).append("a", SAMPLES[0])
    assert kept(path) == [*SAMPLES[1:], SAMPLES[0]]


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        LineLog(tmp_path, ["a"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_told(path: Path) -> None:
    path.chmod(0)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        LineLog(path, ["a"])


def test_an_item_is_kept_by_its_name(tmp_path: Path) -> None:
    for _ in range(2):
        log = ItemLog(LineLog(tmp_path / "it.jsonl", ["a"]), "a", int)
        assert log.item("x", lambda: 3) == 3
        assert log.get("y") is None
    assert len((tmp_path / "it.jsonl").read_text().splitlines()) == 1
