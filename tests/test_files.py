"""Files are written whole or not at all; what is no file stays what it is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from staircase.errors import InputError
from staircase.files import write_text


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "words")
    reader.join(timeout=10)
    assert read == ["words"]
    assert pipe.is_fifo()


def test_a_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: cannot be written"):
        write_text(tmp_path, "words")
    assert list(tmp_path.iterdir()) == []
