"""Event streams: however the bytes are cut, the events are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.openai.server_faults import ServerError, no_stream_fault, told_fault
from executor.openai.sse import MOST_LINE_BYTES, EventParser
from executor.openai.stream_chunks import Chunk, Usage, read_chunk

LINES = st.sampled_from(
    ["data: a", "data:b", "data:  c ", "data: ü→𝄞", "data", ": comment", "event: x", "id: 1", ""]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=30).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


@given(STREAMS, st.lists(st.integers(0, 400), max_size=40))
def test_any_split_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parser = EventParser()
    pieces = [stream[a:b] for a, b in pairwise(places)]
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert events == EventParser().feed(stream)


@given(STREAMS)
def test_byte_by_byte(stream: bytes) -> None:
    parser = EventParser()
    events = [event for byte in stream for event in parser.feed(bytes([byte]))]
    assert events == EventParser().feed(stream)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\r", ["a", "b"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b": ping\n\nevent: error\ndata:x\n\n", ["x"]),
        (b"data: unfinished\n", []),
        (b"data\n\n", []),
    ],
)
def test_the_standards_examples(stream: bytes, events: list[str]) -> None:
    assert [event.data for event in EventParser().feed(stream)] == events


@pytest.mark.parametrize(
    "stream",
    [
        b"error: no more memory\n",
        b'error: {"message": "no more memory"}\n\n',
        b'event: error\ndata: {"message": "no more memory"}\n\n',
        b'event: error\ndata: {"error": {"message": "no more memory"}}\n\n',
    ],
)
def test_an_error_is_told_beside_data(stream: bytes) -> None:
    (event,) = EventParser().feed(stream)
    assert event.name == "error"
    assert str(told_fault(event.data)) == "the server broke off: no more memory"


@given(st.lists(st.integers(0, 80), max_size=20))
def test_lines_of_no_event_stream_are_kept(cuts: list[int]) -> None:
    stream = b'data: a\r\n\r\n{\n "error": "no more memory"\n}'
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parser = EventParser()
    for a, b in pairwise(places):
        parser.feed(stream[a:b])
    assert str(no_stream_fault(parser.stray)) == "the server broke off: no more memory"


def test_a_stream_without_line_ends_does_not_fill_the_memory() -> None:
    with pytest.raises(ServerError, match="a line of over"):
        EventParser().feed(b"x" * (MOST_LINE_BYTES + 1))


@pytest.mark.parametrize(
    ("data", "chunk"),
    [
        ("[DONE]", Chunk(is_last=True)),
        ('{"choices": [{"text": "a", "finish_reason": null}]}', Chunk("a")),
        ('{"choices": [{"delta": {"content": "a"}}]}', Chunk("a")),
        ('{"choices": [{"delta": {"role": "assistant"}}]}', Chunk()),
        ('{"choices": [{"text": "", "finish_reason": "length"}]}', Chunk(end="length")),
        ('{"choices": [{"text": "", "finish_reason": "eos"}]}', Chunk(end="stop")),
        ('{"choices": [{"text": "a", "token_ids": [7, 8]}]}', Chunk("a", (7, 8))),
        (
            '{"choices": [], "usage": {"completion_tokens": 3, '
            '"prompt_tokens_details": {"cached_tokens": 2}}}',
            Chunk(usage=Usage(3, 2)),
        ),
        ('{"choices": [], "usage": {"completion_tokens": 3}}', Chunk(usage=Usage(3, None))),
        ('{"usage": {"completion_tokens": 3}}', Chunk(usage=Usage(3, None))),
        ('{"choices": null, "usage": {"completion_tokens": 3}}', Chunk(usage=Usage(3, None))),
        (
            '{"usage": {"completion_tokens": 9, "completion_tokens_details": '
            '{"reasoning_tokens": 5}}}',
            Chunk(usage=Usage(4, None, 5)),
        ),
        ('{"type": "ping"}', Chunk()),
        ('{"choices": [{"text": "a", "finish_reason": "null"}]}', Chunk("a")),
        ('{"choices": [{"text": "a", "finish_reason": "None"}]}', Chunk("a")),
        ('{"choices": [{"text": "a", "finish_reason": ""}]}', Chunk("a")),
        ('{"choices": [{"text": "", "finish_reason": "STOP"}]}', Chunk(end="stop")),
        ('{"choices": [{"text": "", "finish_reason": "done"}]}', Chunk(unknown_end="done")),
        (
            '{"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}',
            Chunk(end="stop", calls_tool=True),
        ),
        ('{"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}', Chunk(calls_tool=True)),
        ('{"choices": [{"delta": {"refusal": "No."}}]}', Chunk(is_refusal=True)),
        (
            '{"choices": [{"delta": {"content": [{"type": "text", "text": "a"}, "b"]}}]}',
            Chunk("ab"),
        ),
        (
            '{"choices": [{"delta": {"content": [{"type": "thinking", "thinking": '
            '[{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]}}]}',
            Chunk("a", is_reasoning=True, thinking_tokens=1),
        ),
        (
            '{"choices": [{"delta": {"reasoning_content": "hm"}, "token_ids": [7, 8]}]}',
            Chunk(is_reasoning=True, thinking_tokens=2),
        ),
    ],
)
def test_chunks(data: str, chunk: Chunk) -> None:
    assert read_chunk(data) == chunk


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"choices": [{"te', "not a chunk"),
        ("[]", "not a chunk"),
        ("ping", "not a chunk"),
        ('{"choices": [{"text": 3}]}', "not a chunk"),
        ('{"choices": [{"delta": {"content": [3]}}]}', "not a chunk"),
        ('{"choices": [{"text": "", "finish_reason": 3}]}', "not a chunk"),
        ('{"error": {"message": "too\\nlong", "code": 400}}', "broke off: too long"),
        ('{"error": "no more memory"}', "broke off: no more memory"),
        ('{"object": "error", "message": "m"}', "broke off: m"),
        ('{"choices": [{"text": "", "finish_reason": "abort"}]}', "finish_reason abort"),
    ],
)
def test_what_is_no_chunk_is_told_in_one_line(data: str, words: str) -> None:
    with pytest.raises(ServerError, match=words) as told:
        read_chunk(data)
    assert "\n" not in str(told.value)
