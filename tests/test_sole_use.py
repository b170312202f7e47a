from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from planner.sole_use import sole_use
from staircase.errors import InputError


@pytest.mark.parametrize("is_file", [False, True])
def test_the_next_one_is_told_who_holds_it(tmp_path: Path, is_file: bool) -> None:
    """Locks are a thread's."""
    place, told = tmp_path / "some" / "place.1", list[str]()

    def next_one() -> None:
        try:
            with sole_use(place, "plan", is_file):
                told.append("nothing")
        except InputError as error:
            told.append(str(error))

    def try_it() -> str:
        thread = threading.Thread(target=next_one)
        thread.start()
        thread.join()
        return told[-1]

    with sole_use(place, "profile", is_file):
        with sole_use(place, "plan", is_file):
            pass
        said = try_it()
    assert said.startswith(f"{place}: in use by 'staircase profile' (process {os.getpid()} on ")
    assert said.endswith("; wait for its end, or name another place")
    assert "\n" not in said
    assert try_it() == "nothing"
    assert not (tmp_path / "some").exists() or not list((tmp_path / "some").iterdir())


def test_what_a_killed_one_left_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("'staircase plan' (process 1 on nowhere, since then)")
    with sole_use(tmp_path, "plan"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_file", [False, True])
def test_where_nothing_can_be_written(tmp_path: Path, is_file: bool) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"cannot be written \(.*\)$"),
        sole_use(tmp_path / "file" / "in it", "plan", is_file),
    ):
        pytest.fail("there is no such folder")
