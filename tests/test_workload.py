"""Workloads: traces, lengths from samples, tied lengths, replicates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import spearmanr

from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.lengths import lengths_at, normal_scores, tied_normals
from simulator.workloads import workload_of
from staircase import Workload, moa, normal, single, uniform
from staircase.bounds import MOST_SEED
from staircase.errors import ScenarioError, WorkloadError
from staircase.prompt import query
from staircase.question_sets import read_questions
from staircase.request_trace import TracedRequest, TraceFormat, read_request_trace
from staircase.shared_texts import TextPart
from staircase.spec.scenario import load_scenario
from staircase.spec.workload_spec import Length, LogNormalSpec, ValuesSpec, WorkloadSpec
from tests.support.backends import fixed_profile

AZURE = Path(__file__).parents[2] / "shared/data/azure/AzureLLMInferenceTrace_conv.csv"
PIPELINE = moa([["a", "b"]], "z")
SECOND = 10**12
HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
OWN_LINES = [
    {"arrival_s": 7.5, "query_tokens": 30, "output_tokens": 3},
    {"arrival_s": 5, "query_tokens": 0, "output_tokens": 0},
    {"arrival_s": 6.25, "query_tokens": 20, "output_tokens": 2},
]


def read(path: Path, form: TraceFormat, text: str) -> list[TracedRequest]:
    path.write_text(text)
    return read_request_trace(path, form, "z", ["z"])


def lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def spec_of(**keys: Any) -> WorkloadSpec:
    return WorkloadSpec.model_validate(keys)


def traced(folder: Path, replicate: int = 0, trace: Any = None, **keys: Any) -> Workload:
    """Of ``OWN_LINES`` in ``folder``, unless another trace is given."""
    (folder / "own.jsonl").write_text(lines(*OWN_LINES))
    known = {"file": "own.jsonl", "format": "own"} | (trace or {})
    others = keys.pop("output_tokens", {"a": 4, "b": 5})
    spec = spec_of(trace=known, output_tokens=others, **keys)
    return workload_of(spec, PIPELINE, folder, replicate)


def written(workload: Workload, agent: str) -> list[int]:
    return [shape.output_tokens[agent] for shape in workload.requests]


class TestTraces:
    def test_azure_keeps_all_seven_digits(self, tmp_path: Path) -> None:
        rows = (
            "2023-11-16 23:59:59.9999999,374,44\n\n"
            "2023-11-17 00:00:01,0,0\n"
            "2023-11-17 00:00:00.0000001,396,109\n"
        )
        assert read(tmp_path / "t.csv", "azure", HEAD + rows) == [
            TracedRequest(0, 374, {"z": 44}),
            TracedRequest(SECOND // 10**7 * 2, 396, {"z": 109}),
            TracedRequest(SECOND + SECOND // 10**7, 1, {"z": 0}),
        ]

    def test_azure_may_tell_the_zone_and_have_more_columns(self, tmp_path: Path) -> None:
        text = (
            "\ufeffid,TIMESTAMP, GeneratedTokens,ContextTokens\r\n"
            "7,2024-05-10 00:00:00.009930+00:00,2,3\r\n"
            "8,2024-05-10 02:00:01.009930+02:00,4,5\r\n"
        )
        first, second = read(tmp_path / "t.csv", "azure", text)
        assert (first.query_tokens, first.output_tokens) == (3, {"z": 2})
        assert second.arrival_ps == SECOND

    def test_mooncake_counts_in_milliseconds(self, tmp_path: Path) -> None:
        row = {"timestamp": 3000, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}
        text = lines(row, row | {"timestamp": 3052, "output_length": 0})
        blocks = (TextPart("block 0", 512), TextPart("block 1", 188))
        assert read(tmp_path / "t.jsonl", "mooncake", text) == [
            TracedRequest(0, 700, {"z": 5}, blocks),
            TracedRequest(SECOND * 52 // 1000, 700, {"z": 0}, blocks),
        ]

    def test_own_is_sorted_and_begins_at_0(self, tmp_path: Path) -> None:
        workload = traced(tmp_path)
        assert workload.arrivals_ps == [0, SECOND * 5 // 4, SECOND * 5 // 2]
        assert written(workload, "z") == [0, 2, 3]
        assert [shape.fixed_tokens[query("a")] for shape in workload.requests] == [1, 20, 30]
        assert written(workload, "a") == [4, 4, 4]

    def test_own_may_say_what_each_agent_writes(self, tmp_path: Path) -> None:
        row = {"arrival_s": 0, "query_tokens": 1, "output_tokens": {"z": 1, "a": 2, "b": 3}}
        (tmp_path / "all.jsonl").write_text(lines(row))
        workload = traced(tmp_path, trace={"file": "all.jsonl"}, output_tokens={})
        assert workload.requests[0].output_tokens == {"z": 1, "a": 2, "b": 3}

    def test_speed_divides_arrival_times(self, tmp_path: Path) -> None:
        workload = traced(tmp_path, trace={"speed": 2.5})
        assert workload.arrivals_ps == [0, SECOND // 2, SECOND]

    @pytest.mark.parametrize(
        ("limit", "requests", "count"), [(None, None, 3), (2, None, 2), (None, 1, 1), (2, 9, 2)]
    )
    def test_limits(
        self, tmp_path: Path, limit: int | None, requests: int | None, count: int
    ) -> None:
        keys = {} if requests is None else {"requests": requests}
        assert len(traced(tmp_path, trace={"limit": limit}, **keys).requests) == count

    def test_a_trace_too_long_for_simulated_time_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "late.jsonl").write_text(lines(OWN, OWN | {"arrival_s": 6}))
        with pytest.raises(WorkloadError, match=r"after 6e\+06 s, must be within 1e\+06 s"):
            traced(tmp_path, trace={"speed": 1e-6, "file": "late.jsonl"})

    def test_empty_texts_can_be_simulated(self, tmp_path: Path) -> None:
        workload = traced(tmp_path, output_tokens={"a": {"values": [0]}, "b": 5})
        engines = {name: SerialSetup(fixed_profile(), name) for name in PIPELINE.engines}
        done = simulate(PIPELINE, uniform(PIPELINE, normal()), engines, workload)
        assert [len(line.answer_ps) for line in done] == [0, 2, 3]
        assert not any(line.error for line in done)

    @pytest.mark.skipif(not AZURE.is_file(), reason="the public trace is not here")
    def test_the_public_azure_trace(self) -> None:
        rows = read_request_trace(AZURE, "azure", "z", ["z"])
        assert len(rows) == 19366
        assert rows[0] == TracedRequest(0, 374, {"z": 44})
        assert rows[1].arrival_ps == 4_314_579 * SECOND // 10**6
        assert 3500 * SECOND < rows[-1].arrival_ps < 3600 * SECOND


MOONCAKE = {"timestamp": 0, "input_length": 1, "output_length": 1}
OWN: dict[str, object] = {"arrival_s": 0, "query_tokens": 1, "output_tokens": 1}
WRONG: dict[str, tuple[TraceFormat, str, str]] = {
    "empty": ("own", "\n", "holds no request"),
    "only a header": ("azure", HEAD, "holds no request"),
    "no header": ("azure", "2023-11-16 18:15:46,3,4\n", "line 1: no column 'TIMESTAMP'"),
    "no time": ("azure", HEAD + "soon,3,4\n", "line 2: TIMESTAMP is 'soon', must be like 2023"),
    "no such day": ("azure", HEAD + "2023-02-30 18:15:46,3,4\n", "line 2: TIMESTAMP"),
    "short row": ("azure", HEAD + "2023-11-16 18:15:46,3\n", "line 2: GeneratedTokens is ''"),
    "fraction": ("azure", HEAD + "2023-11-16 18:15:46,3.5,4\n", "line 2: ContextTokens is '3.5'"),
    "not JSON": ("mooncake", lines(MOONCAKE) + "{\n", "line 2: not JSON"),
    "no object": ("mooncake", "[1]\n", "line 1: must be an object with timestamp"),
    "key is missing": ("mooncake", '{"timestamp": 0}\n', "line 1: no 'input_length'"),
    "negative": ("mooncake", lines(MOONCAKE | {"output_length": -1}), "output_length is -1"),
    "huge": ("own", lines(OWN | {"query_tokens": 10**30}), "query_tokens is 10+, must be a whole"),
    "yes": ("own", lines(OWN | {"query_tokens": True}), "query_tokens is True"),
    "never": ("own", lines(OWN | {"arrival_s": float("nan")}), "arrival_s is nan, must be a"),
    "too late": ("own", lines(OWN | {"arrival_s": 10**400}), "arrival_s is 10+, must be a"),
    "text": ("own", lines(OWN | {"arrival_s": "0"}), "arrival_s is '0'"),
    "too few hash_ids": (
        "mooncake",
        lines(MOONCAKE | {"input_length": 513, "hash_ids": [4]}),
        "line 1: 1 hash_ids, must be 2, one for each 512 of input_length 513",
    ),
    "hash_ids of another kind": (
        "mooncake",
        lines(MOONCAKE | {"hash_ids": ["a"]}),
        "hash_ids must be a list of whole numbers",
    ),
    "continues a later row": (
        "own",
        lines(OWN, OWN | {"continues": 2}),
        "line 2: continues is 2, must be the number of an earlier request",
    ),
    "continues by name": ("own", lines(OWN, OWN | {"continues": [1]}), "continues is .1., must"),
    "continues with less": (
        "own",
        lines(OWN, OWN | {"continues": 1, "query_tokens": 2}),
        "line 2: continues 1, whose query and answer have 2 tokens, so it must come later",
    ),
    "one prompt of two lengths": (
        "own",
        lines(OWN | {"prompt": "p"}, OWN | {"prompt": "p", "query_tokens": 2}),
        "line 2: query_tokens of prompt 'p' is 2, and 1 in line 1",
    ),
    "prompt that is no name": ("own", lines(OWN | {"prompt": 7}), "prompt is 7, must be a name"),
    "prompt and continues": (
        "own",
        lines(OWN, OWN | {"prompt": "p", "continues": 1}),
        "give prompt or continues, not both",
    ),
    "another unit": ("mooncake", lines(MOONCAKE | {"timestamp": 0.5}), "whole milliseconds"),
    "keys of another format": (
        "mooncake",
        lines(MOONCAKE | {"chat_id": 3}),
        "unknown key 'chat_id', as of another format, whose times may have another unit",
    ),
    "deep": ("own", "[" * 3000, "line 1: not JSON"),
    "half a pair": ("own", lines(OWN | {"\ud800": 1}), "line 1: a lone surrogate"),
    "unknown key": ("own", lines(OWN, OWN | {"tokens": 1}), "line 2: unknown key 'tokens'"),
    "other agents": (
        "own",
        lines(OWN | {"output_tokens": {"z": 1, "y": 1}}),
        "line 1: says how much 'y', 'z' write, must say it of 'z'",
    ),
    "agent's tokens": (
        "own",
        lines(OWN | {"output_tokens": {"z": None}}),
        "output_tokens of 'z' is None",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_traces_are_told_with_file_and_line(case: str, tmp_path: Path) -> None:
    form, text, words = WRONG[case]
    with pytest.raises(WorkloadError, match=words) as error:
        read(tmp_path / "trace", form, text)
    assert str(error.value).startswith(str(tmp_path / "trace"))
    assert "\n" not in str(error.value)


SEEDS = some.integers(0, MOST_SEED)
LOGNORMAL = LogNormalSpec(mean=200, sigma=0.5)
SAMPLE = ValuesSpec(values=[10, 20, 20, 40, 1000])
MANY = 20_000


class TestLengths:
    @given(some.lists(some.integers(0, 2000), min_size=1), some.integers(0, 2**32 - 1))
    @settings(deadline=None)
    def test_samples_are_drawn_each_as_likely(self, values: list[int], seed: int) -> None:
        normals = np.random.default_rng(seed).standard_normal(500)
        drawn = lengths_at(normals, ValuesSpec(values=values), Path())
        assert set(drawn.tolist()) <= set(values)
        order = np.argsort(normals)
        assert (np.diff(drawn[order]) >= 0).all()

    @pytest.mark.parametrize("correlation", [0.0, 0.8])
    def test_ties_leave_each_length_as_it_was(self, correlation: float) -> None:
        a, b, _ = tied(correlation, {"a": LOGNORMAL, "b": SAMPLE, "z": 7})
        assert a.mean() == pytest.approx(200, rel=0.02)
        middle = 200 * np.exp(-0.125)
        tails = [middle * np.exp(0.5 * z) for z in (-1.2816, 0, 1.2816)]
        assert np.quantile(a, [0.1, 0.5, 0.9]) == pytest.approx(tails, rel=0.03)
        shares = [float((b == value).mean()) for value in (10, 20, 40, 1000)]
        assert shares == pytest.approx([0.2, 0.4, 0.2, 0.2], abs=0.015)

    @pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
    def test_ties_have_the_correlation_asked_for(self, correlation: float) -> None:
        sample = ValuesSpec(values=list(range(1000, 3000)))
        lengths = tied(correlation, {"a": LOGNORMAL, "b": sample, "z": LOGNORMAL})
        spearman = 6 / np.pi * np.arcsin(correlation / 2)
        for one, two in ((0, 1), (0, 2), (1, 2)):
            found = spearmanr(lengths[one], lengths[two]).statistic
            assert found == pytest.approx(spearman, abs=0.025)

    def test_queries_are_tied_to_nothing(self) -> None:
        workload = drawn(0.9, {"a": LOGNORMAL, "b": LOGNORMAL, "z": LOGNORMAL})
        queries = [shape.fixed_tokens[query("a")] for shape in workload.requests]
        assert abs(spearmanr(queries, written(workload, "z")).statistic) < 0.025

    def test_the_answer_of_a_trace_is_tied_too(self, tmp_path: Path) -> None:
        lengths = np.random.default_rng(0).geometric(0.01, 5000).tolist()
        rows = [OWN | {"arrival_s": n, "output_tokens": x} for n, x in enumerate(lengths)]
        (tmp_path / "long.jsonl").write_text(lines(*rows))
        others = {"a": {"mean": 200, "sigma": 0.5}, "b": {"values": list(range(500))}}
        workload = traced(
            tmp_path, trace={"file": "long.jsonl"}, output_tokens=others, correlation=0.7
        )
        assert written(workload, "z") == lengths
        spearman = 6 / np.pi * np.arcsin(0.35)
        for one, two in ("za", "zb", "ab"):
            found = spearmanr(written(workload, one), written(workload, two)).statistic
            assert found == pytest.approx(spearman, abs=0.04)

    @given(some.lists(some.integers(0, 9), min_size=2), some.integers(0, 2**32 - 1))
    @settings(deadline=None)
    def test_normal_scores_rise_with_lengths(self, lengths: list[int], seed: int) -> None:
        scores = normal_scores(np.random.default_rng(seed), np.array(lengths))
        order = np.argsort(scores)
        assert np.diff(np.array(lengths)[order]).min() >= 0
        assert scores.sum() == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize(
        ("text", "column"),
        [("3\n\n5\r\n 8\n", None), ("name,tokens\nx,3\ny,5\nz,8\n", "tokens")],
    )
    def test_files_of_lengths(self, tmp_path: Path, text: str, column: str | None) -> None:
        (tmp_path / "lengths").write_text(text)
        length = {"file": "lengths", "column": column}
        spec = spec_of(output_tokens={"model": length}, query_tokens={"values": [0]})
        workload = workload_of(spec, single(), tmp_path)
        assert set(written(workload, "model")) == {3, 5, 8}
        assert {shape.fixed_tokens[query("model")] for shape in workload.requests} == {1}

    @pytest.mark.parametrize(
        ("text", "column", "words"),
        [
            (None, None, "no such file; it should be lengths, one a line"),
            ("", None, "holds no length"),
            ("3\n\n4.5\n", None, "line 3: a length is '4.5', must be a whole number"),
            ("a,b\n1,2\n", "c", "line 1: no column 'c'"),
            ("a,b\n1,2\n3\n", "b", "line 3: a length is ''"),
        ],
    )
    def test_wrong_files_of_lengths_are_told(
        self, tmp_path: Path, text: str | None, column: str | None, words: str
    ) -> None:
        if text is not None:
            (tmp_path / "lengths").write_text(text)
        spec = spec_of(output_tokens={"model": {"file": "lengths", "column": column}})
        with pytest.raises(WorkloadError, match=words) as error:
            workload_of(spec, single(), tmp_path)
        assert str(error.value).startswith(str(tmp_path / "lengths"))


def drawn(correlation: float, lengths: dict[str, Length]) -> Workload:
    spec = WorkloadSpec(
        requests=MANY, query_tokens=LOGNORMAL, output_tokens=lengths, correlation=correlation
    )
    return workload_of(spec, PIPELINE, Path())


def tied(correlation: float, lengths: dict[str, Length]) -> list[np.ndarray]:
    workload = drawn(correlation, lengths)
    return [np.array(written(workload, name)) for name in lengths]


def spec_with(correlation: float, requests: int, seed: int) -> WorkloadSpec:
    return WorkloadSpec(
        requests=requests,
        seed=seed,
        query_tokens=LOGNORMAL,
        output_tokens={"a": LOGNORMAL, "b": SAMPLE, "z": LOGNORMAL},
        correlation=correlation,
        rate_per_s=3.0,
    )


class TestReplicates:
    @given(
        some.floats(0, 0.99), some.integers(1, 20), some.integers(0, 2**32 - 1), some.integers(0, 9)
    )
    @settings(deadline=None)
    def test_fewer_requests_are_the_first_of_more(
        self, correlation: float, requests: int, seed: int, replicate: int
    ) -> None:
        few, more = (
            workload_of(spec_with(correlation, n, seed), PIPELINE, Path(), replicate)
            for n in (requests, 20)
        )
        assert few.arrivals_ps is not None
        assert more.arrivals_ps is not None
        assert list(few.requests) == list(more.requests[:requests])
        assert list(few.arrivals_ps) == list(more.arrivals_ps[:requests])

    def test_replicates_differ_in_lengths_and_arrivals(self) -> None:
        spec = spec_with(0.5, 50, seed=1)
        zero, one, two = (workload_of(spec, PIPELINE, Path(), number) for number in range(3))
        assert zero == workload_of(spec, PIPELINE, Path())
        for first, second in ((zero, one), (one, two), (zero, two)):
            assert first.requests != second.requests
            assert first.arrivals_ps != second.arrivals_ps

    def test_another_length_of_one_agent_leaves_the_others(self) -> None:
        spec = spec_with(0.5, 50, seed=1)
        lengths = {**spec.output_tokens, "a": 3}
        one = workload_of(spec, PIPELINE, Path())
        two = workload_of(spec.model_copy(update={"output_tokens": lengths}), PIPELINE, Path())
        assert written(one, "b") == written(two, "b")
        assert one.arrivals_ps == two.arrivals_ps

    @given(some.integers(1, 1000))
    @settings(deadline=None, max_examples=20)
    def test_replicates_of_a_trace_draw_its_rows(
        self, tmp_path_factory: pytest.TempPathFactory, replicate: int
    ) -> None:
        folder = tmp_path_factory.mktemp("trace")
        zero, other = traced(folder), traced(folder, replicate)
        assert other == traced(folder, replicate)
        assert other.arrivals_ps == zero.arrivals_ps
        assert all(shape in zero.requests for shape in other.requests)

    def test_some_replicate_of_a_trace_has_a_row_twice(self, tmp_path: Path) -> None:
        answers = [sorted(written(traced(tmp_path, number), "z")) for number in range(1, 9)]
        assert any(len(set(drawn)) < 3 for drawn in answers)


def test_given_normals_are_tied_like_drawn_ones() -> None:
    rng = np.random.default_rng(0)
    known = rng.standard_normal(MANY)
    normals = tied_normals(rng, 0.6, MANY, 2, known)
    found = np.corrcoef(np.column_stack([known, normals]).T)
    assert found == pytest.approx(np.full((3, 3), 0.6) + 0.4 * np.eye(3), abs=0.02)
    assert normals.std(axis=0) == pytest.approx([1, 1], abs=0.02)


PAPER = Path(__file__).parents[1] / "examples" / "paper_moa.yaml"
PAPER_QUERY = "  query_tokens: 100\n"
PAPER_OUTPUT = "{first: 1046, second: 900, third: 780, aggregator: 486}"
OTHERS = "{first: 9, second: 9, third: 9}"
TRACE = "  trace: {file: trace.jsonl, format: own}\n"

WRONG_WORKLOADS = {
    "wrong format": (
        TRACE.replace("own", "azur"),
        OTHERS,
        r"workload.trace.format: Input should be 'azure', 'mooncake' or 'own'",
    ),
    "a rate beside a trace": (
        TRACE + "  rate_per_s: 2\n",
        OTHERS,
        "workload: rate_per_s must not be given beside a trace, which says when requests arrive",
    ),
    "concurrency beside a trace": (TRACE + "  concurrency: 2\n", OTHERS, "workload: concurrency"),
    "query beside a trace": (TRACE + PAPER_QUERY, OTHERS, "workload: query_tokens must not be"),
    "answer beside a trace": (
        TRACE,
        PAPER_OUTPUT,
        "workload.output_tokens: 'aggregator' must not be given beside a trace",
    ),
    "a length that the trace cannot say": (
        TRACE.replace("own", "azure"),
        "{first: 9, second: 9}",
        "does not say how much 'third' writes",
    ),
    "speed": (TRACE.replace("own", "own, speed: 0"), OTHERS, "workload.trace.speed"),
    "correlation": (
        "  correlation: 1.0\n",
        PAPER_OUTPUT,
        "workload.correlation: Input should be less than 1",
    ),
    "no values": (
        "  query_tokens: {values: []}\n",
        PAPER_OUTPUT,
        r"workload.query_tokens.*values: List should have at least 1 item",
    ),
    "misspelt mean": (
        "  query_tokens: {meen: 8, sigma: 1}\n",
        PAPER_OUTPUT,
        r"workload.query_tokens.*unknown key 'meen'; did you mean 'mean'\?",
    ),
    "negative seed": ("  seed: -1\n", PAPER_OUTPUT, "workload.seed: Input should be greater"),
}


@pytest.mark.parametrize("case", WRONG_WORKLOADS)
def test_wrong_workloads_are_told_with_file_and_key(case: str, tmp_path: Path) -> None:
    workload, output, words = WRONG_WORKLOADS[case]
    path = tmp_path / "scenario.yaml"
    paper = PAPER.read_text()
    path.write_text(paper.replace(PAPER_QUERY, workload).replace(PAPER_OUTPUT, output))
    with pytest.raises(ScenarioError, match=words) as error:
        load_scenario(path)
    assert str(error.value).startswith(f"{path}: workload")
    assert "\n" not in str(error.value)


def test_questions_may_hold_any_character(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes('{"query":"a"}\r\n\n{"query": "b\u2028c"}\n'.encode())
    assert [question.query for question in read_questions(path)] == ["a", "b\u2028c"]
