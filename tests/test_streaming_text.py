"""Text shown as it comes: nothing is taken back, and in the end all of it is there."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from executor.tokens.streaming_text import StreamingText


def bytes_as_text(ids: Sequence[int]) -> str:
    """A token for each byte, so that most letters take several."""
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(), st.lists(st.integers(1, 5)))
def test_all_of_it_is_shown_and_nothing_taken_back(text: str, steps: list[int]) -> None:
    ids = list(text.encode())
    streaming, there = StreamingText(bytes_as_text), 0
    for step in [*steps, len(ids)]:
        there = min(there + step, len(ids))
        before = streaming.text
        added = streaming.update(ids[:there])
        assert streaming.text == before + added
        assert text.startswith(streaming.text)
    assert streaming.text == text or text.endswith("\ufffd")


def test_a_letter_waits_for_its_last_byte() -> None:
    streaming = StreamingText(bytes_as_text)
    first, second = "é".encode()
    assert streaming.update([first]) == ""
    assert streaming.update([first, second]) == "é"
