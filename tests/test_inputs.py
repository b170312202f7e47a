"""Inputs: sources that no model writes and that come on a clock."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import planner
from executor.engine import CallReport, EngineCall, Key
from executor.input_engine import NO_PROMPT, InputEngine, LiveInput, words_of
from executor.opened_engines import read_dataset
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from planner.results.reader_gain import ReaderGain
from simulator.analytic.request_form import closed_form
from simulator.analytic.sketch import sketch_of
from simulator.compiled.play import play_compiled
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from simulator.intervals import with_profile_error
from simulator.workloads import workload_of
from staircase import (
    Agent,
    Pipeline,
    Question,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
    uniform,
)
from staircase.errors import PipelineError, ScenarioError, ScheduleError, WorkloadError
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import OF_INPUTS, Summary, measure
from staircase.metrics.ttft import ttft_path
from staircase.pipeline import Arrival
from staircase.spec.pipeline_spec import PipelineSpec
from staircase.spec.scenario import load_scenario
from staircase.spec.workload_spec import WorkloadSpec
from staircase.timeline import to_ps, to_s
from staircase.trace import write_trace
from tests.support.command_line import staircase, staircase_process
from tests.support.four_models import save_four_models, write_scenario
from tests.support.scripted_engine import ScriptedEngine

TTFT_S, ITL_S = 0.1, 0.01
ENDPOINT = EndpointSetup(to_ps(TTFT_S), to_ps(ITL_S))
# Ten tokens in segments of four: at 2, 4 and 5 s.
TYPED = Agent("typed", arrival=Arrival(2.0, segment_tokens=4))
PIPELINE = Pipeline((TYPED, Agent("z", reads=("typed",))), "z")
REQUEST = RequestShape({"query/z": 5}, {"typed": 10, "z": 6}, "length")


def play(schedule: Schedule, request: RequestShape = REQUEST) -> Timeline:
    return simulate(PIPELINE, schedule, {"z": ENDPOINT}, Workload([request]))[0]


class TestSimulated:
    def test_segments_come_when_their_last_token_is_due(self) -> None:
        line = play(uniform(PIPELINE, constant(1, 4, 1)))
        began_s = [to_s(span.submitted_ps) for span in line.spans if span.agent == "z"]
        # 1 and 5 tokens, which come with the segments' ends, and 9, which the last two bring; that
        # it is over is known with them, and what is left is written.
        assert began_s == pytest.approx([2.0, 4.0, 5.0, 5.0 + TTFT_S])
        reads = [span.read for span in line.spans if span.agent == "z"]
        assert reads == [(1,), (5,), (9,), (10,)]

    def test_times_count_from_the_end_of_the_input_too(self) -> None:
        found = measure(play(Schedule()), reading_rate=1000)
        assert found.input_s == pytest.approx(5.0)
        assert found.ttft_s == pytest.approx(5.0 + TTFT_S)
        # Tokens come at 100 a second, and the reader waits for the last of six.
        assert found.smooth_start_s == pytest.approx(5.0 + TTFT_S + 5 * ITL_S - 0.005)
        assert found.start_after_input_s == pytest.approx(TTFT_S + 5 * ITL_S - 0.005)
        assert found.last_after_input_s == pytest.approx(TTFT_S + 5 * ITL_S)

    def test_an_answer_may_be_there_before_its_input(self) -> None:
        line = play(uniform(PIPELINE, constant(4, 4, 8)))
        found = measure(line, reading_rate=1000)
        assert line.spans[0].reason == "cancelled"
        # What was there when nobody read on any more.
        assert found.input_s == pytest.approx(2.0)
        assert line.written["typed"] == 4

    def test_no_device_and_no_prompt_are_counted(self) -> None:
        span = play(Schedule()).spans[0]
        assert not span.has_model
        assert (span.busy_ps, span.prefilled_tokens, span.cached_tokens) == (0, 0, 0)

    def test_only_requests_with_inputs_have_their_figures(self) -> None:
        alone = Pipeline((Agent("z"),), "z")
        lines = simulate(alone, Schedule(), {"z": ENDPOINT}, Workload([REQUEST]))
        assert not set(OF_INPUTS) & measure_all(lines).summaries().keys()
        assert set(OF_INPUTS) <= measure_all([play(Schedule())]).summaries().keys()

    def test_an_empty_input_is_over_at_once(self) -> None:
        line = play(Schedule(), replace(REQUEST, output_tokens={"typed": 0, "z": 6}))
        assert line.input_ps is None
        assert measure(line).ttft_s == pytest.approx(TTFT_S)

    def test_the_way_to_the_first_token_leads_through_the_input(self) -> None:
        line, schedule = play(Schedule()), Schedule()
        path = ttft_path(line, PIPELINE, schedule, {})
        assert [(one.agent, one.phase) for one in path] == [("typed", "arrive"), ("z", "prefill")]
        assert sum(one.length_ps for one in path) == line.answer_ps[0]

    def test_traces_show_it(self, tmp_path: Path) -> None:
        write_trace(tmp_path / "trace.json", {"simulated": [play(Schedule())]})
        names = [
            e["name"] for e in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        ]
        assert "arriving (step 0)" in names

    def test_what_needs_a_table_or_a_closed_form_leaves_it(self) -> None:
        assert play_compiled(PIPELINE, Schedule(), {"z": ENDPOINT}, Workload([REQUEST])) is None
        assert sketch_of(PIPELINE, {"z": ENDPOINT}, Workload([REQUEST])) is None
        with pytest.raises(ScheduleError, match="no closed form: 'typed' is an input"):
            closed_form(PIPELINE, Schedule(), {"z": ENDPOINT}, REQUEST)


class TestIntervals:
    def test_only_what_follows_the_input_may_be_slower(self) -> None:
        line = play(Schedule())
        plain = measure_all([line], 1000).summaries()
        certain = {name: replace(one, low=one.mean, high=one.mean) for name, one in plain.items()}
        found = with_profile_error(certain, [line], 1000, math.log(2))
        assert found["ttft_s"].high == pytest.approx(5.0 + 2 * TTFT_S)
        assert found["last_after_input_s"].high == pytest.approx(2 * (TTFT_S + 5 * ITL_S))
        assert found["last_after_input_s"].low == pytest.approx((TTFT_S + 5 * ITL_S) / 2)

    def test_a_start_before_the_end_stays_below_0(self) -> None:
        line = play(uniform(PIPELINE, constant(4, 4, 5)))
        certain = {
            name: replace(one, low=one.mean, high=one.mean)
            for name, one in measure_all([line], 1.5).summaries().items()
        }
        assert certain["start_after_input_s"].mean < 0
        found = with_profile_error(certain, [line], 1.5, 0.1)
        assert found["start_after_input_s"].low <= certain["start_after_input_s"].mean


class TestScenario:
    def pipeline(self, text: str) -> Pipeline:
        return PipelineSpec.model_validate(yaml.safe_load(text)).build()

    def test_who_reads_nobody_else_reads_it(self) -> None:
        found = self.pipeline(
            "{moa: {layers: [[a, b], [c]], answer: z}, inputs: {typed: {tokens_per_s: 3}}}"
        )
        assert {agent.name: agent.reads for agent in found} == {
            "typed": (),
            "a": ("typed",),
            "b": ("typed",),
            "c": ("a", "b"),
            "z": ("c",),
        }
        assert found.engines == ("a", "b", "c", "z")
        assert [one.name for one in found.inputs] == ["typed"]

    def test_agents_may_name_it(self) -> None:
        found = self.pipeline(
            "{agents: {z: {reads: [typed]}}, answer: z, inputs: {typed: {tokens_per_s: 3}}}"
        )
        assert found["z"].reads == ("typed",)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{single: z, inputs: {z: {tokens_per_s: 1}}}", "stands twice"),
            ("{agents: {z: {}}, answer: t, inputs: {t: {tokens_per_s: 1}}}", "is an input"),
            ("{agents: {z: {}}, answer: z, inputs: {t: {tokens_per_s: 1}}}", "nobody reads"),
            (
                "{agents: {z: {reads: [t], engine: t}}, answer: z, inputs: {t: {tokens_per_s: 1}}}",
                "has the name of an engine",
            ),
        ],
    )
    def test_what_cannot_be(self, text: str, words: str) -> None:
        with pytest.raises(PipelineError, match=words):
            self.pipeline(text)

    @pytest.mark.parametrize(
        "text",
        [
            "{single: z, inputs: {t: {}}}",
            "{single: z, inputs: {t: {tokens_per_s: 0}}}",
            "{single: z, inputs: {t: {tokens_per_s: 1, segment_tokens: 0}}}",
            "{agents: {t: {}}, answer: t, inputs: {t: {tokens_per_s: 1}}}",
        ],
    )
    def test_what_is_refused_with_its_key(self, text: str) -> None:
        with pytest.raises(ValidationError, match="inputs"):
            self.pipeline(text)

    def test_it_has_no_engine(self, tmp_path: Path) -> None:
        path = tmp_path / "typed.yaml"
        content = yaml.safe_load(SIMULATED) | {"name": "typed"}
        content["engines"]["typed"] = content["engines"]["z"]
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(ScenarioError, match=r"engines\.typed: 'typed' is an input"):
            load_scenario(path)

    def test_it_is_no_proposer(self) -> None:
        with pytest.raises(ScheduleError, match="must be an agent that reads nobody and is read"):
            Schedule(without=("typed",)).check(PIPELINE)


SIMULATED = """
name: typed
pipeline:
  inputs: {typed: {tokens_per_s: 1.0, segment_tokens: 5}}
  agents:
    notes: {reads: [typed], max_tokens: 400}
    z: {reads: [typed, notes], max_tokens: 80}
  answer: z
engines:
  notes: {kind: simulated, decode_tokens_per_s: 20, prefill_tokens_per_s: 2000}
  z: {kind: simulated, decode_tokens_per_s: 60, prefill_tokens_per_s: 8000}
workload:
  requests: 6
  query_tokens: 40
  output_tokens: {typed: {mean: 60, sigma: 0.4}, notes: 250, z: 40}
plan: {staircases: agent, trials: 30, max_unread: 0.4}
"""


class TestPlanned:
    def test_the_start_counts_from_the_end_of_the_input(self, tmp_path: Path) -> None:
        (tmp_path / "typed.yaml").write_text(SIMULATED)
        found = planner.plan(tmp_path / "typed.yaml", out=tmp_path / "out")
        assert found.objectives[0] == "start_after_input"
        named = {name: one.forecast for name, one in found.named().items()}
        assert named["chosen"]["start_after_input_s"].mean < (
            0.5 * named["normal"]["start_after_input_s"].mean
        )
        assert found.explanation is not None
        assert "the end of the input" in found.explanation.reading.sentence

    def test_its_prompt_is_empty_and_its_length_drawn(self) -> None:
        spec = yaml.safe_load(SIMULATED)
        pipeline = PipelineSpec.model_validate(spec["pipeline"]).build()
        workload = workload_of(WorkloadSpec.model_validate(spec["workload"]), pipeline, Path())
        assert {name.split("/")[1] for name in workload.requests[0].fixed_tokens} == {"notes", "z"}
        assert len({request.output_tokens["typed"] for request in workload.requests}) > 1


def test_a_start_before_the_end_is_told_as_such() -> None:
    def metrics(start_s: float, last_s: float) -> dict[str, Summary]:
        values = {"start_after_input_s": start_s, "last_after_input_s": last_s}
        return {name: Summary.of(value) for name, value in values.items()}

    found = ReaderGain.of(5.3, metrics(12.0, 14.0), metrics(-1.5, 7.0), [])
    assert found.sentence == (
        "Somebody who reads 5.3 tokens/s can on average start 13.50 s earlier, 1.50 s before the "
        "end of the input instead of 12.00 s after the end of the input, and never waits; the "
        "last token comes 50% earlier."
    )


@dataclass
class Heard:
    """What a call brought; ``over`` is set when it ends."""

    times_ns: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    report: CallReport | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.ids.append(token)
        self.times_ns.append(time_ns)

    def on_revised(self, key: Key, standing: int, time_ns: int) -> None:
        del self.ids[standing:]
        self.times_ns.append(time_ns)

    def on_end(self, key: Key, report: CallReport) -> None:
        self.report = report
        self.over.set()


def bring(engine: InputEngine, text: str, stop_after: int | None = None) -> Heard:
    heard = Heard()
    engine.submit(EngineCall((0, 0), engine.encode(text), 1000), heard)
    while stop_after is not None and len(heard.ids) < stop_after:
        time.sleep(0.001)
    if stop_after is not None:
        engine.cancel((0, 0))
    assert heard.over.wait(10)
    return heard


class TestInRealTime:
    def test_words_come_when_they_are_due(self) -> None:
        engine = InputEngine(Arrival(100.0, segment_tokens=3))
        heard = bring(engine, "one two three four five six seven")
        assert engine.decode(heard.ids) == "one two three four five six seven"
        assert heard.report is not None
        assert (heard.report.reason, heard.report.busy_ns) == ("stop", 0)
        waits_s = [(ns - heard.report.started_ns) / 1e9 for ns in heard.times_ns]
        due_s = [0.03] * 3 + [0.06] * 3 + [0.07]
        assert all(wait >= due for wait, due in zip(waits_s, due_s, strict=True))

    def test_it_can_be_cut_off(self) -> None:
        heard = bring(InputEngine(Arrival(20.0)), "word " * 200, stop_after=2)
        assert heard.report is not None
        assert heard.report.reason == "cancelled"
        assert 2 <= len(heard.ids) < 200

    def test_a_request_reads_it(self) -> None:
        pipeline = Pipeline((replace(TYPED, arrival=Arrival(200.0)), *PIPELINE.agents[1:]), "z")
        served = {
            "z": ServedModel(ScriptedEngine(8), PromptFormat(own="|")),
            "typed": ServedModel(InputEngine(Arrival(200.0)), NO_PROMPT),
        }
        question = Question("Answer.", {"typed": "what is the time now"})
        schedule = uniform(pipeline, constant(2, 2, 3))
        outcome = Runtime(served).run([Job(pipeline, schedule, question)])[0]
        line = outcome.timeline
        assert outcome.texts["typed"] == "what is the time now"
        assert line.written == {"typed": 5, "z": 8}
        assert line.input_ps is not None
        assert to_s(line.input_ps - line.arrival_ps) >= 5 / 200
        assert [call.read for call in outcome.calls if call.agent == "z"] == [(2,), (4,), (5,)]

    def test_a_question_that_says_nothing_of_it_is_told(self) -> None:
        served = {"typed": ServedModel(InputEngine(Arrival()), NO_PROMPT)}
        served["z"] = ServedModel(ScriptedEngine(8), PromptFormat())
        job = Job(PIPELINE, Schedule(), Question("why?"))
        with pytest.raises(WorkloadError, match=r"question 'why\?': says nothing of the input"):
            Runtime(served).run([job])


class TestLive:
    """What somebody types, or another program writes."""

    @staticmethod
    def typed(*parts: bytes, wait_s: float = 0.0) -> list[str]:
        """The words of what is written part by part."""
        reading, writing = os.pipe()

        def write() -> None:
            with os.fdopen(writing, "wb", buffering=0) as file:
                for part in parts:
                    file.write(part)
                    time.sleep(wait_s)

        threading.Thread(target=write, daemon=True).start()
        found = list(words_of(reading))
        os.close(reading)
        return found

    @given(st.text(max_size=40), st.lists(st.integers(0, 60), max_size=4))
    def test_words_are_the_text_however_it_is_cut(self, text: str, cuts: list[int]) -> None:
        raw = text.encode()
        places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
        found = self.typed(*(raw[a:b] for a, b in pairwise(places) if b > a))
        assert "".join(found) == text.rstrip()
        assert all(len(word.split()) <= 1 for word in found)

    def test_letters_may_be_cut_too(self) -> None:
        found = self.typed(b"wh", b"at is \xc3", b"\xbcber ", b"us\n", wait_s=0.02)
        assert found == ["what", " is", " über", " us"]

    def test_it_can_be_cut_off_while_nothing_comes(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb", buffering=0) as file:
            engine, heard = LiveInput(reading), Heard()
            engine.submit(EngineCall((0, 0), [], 1000), heard)
            file.write(b"one two ")
            while len(heard.ids) < 1:
                time.sleep(0.001)
            engine.cancel((0, 0))
            assert heard.over.wait(5)
            assert heard.report is not None
            assert heard.report.reason == "cancelled"
            file.write(b"three ")
        assert engine.decode(heard.ids) == "one two"

    def test_a_question_is_typed(self, tmp_path: Path) -> None:
        path = typed_scenario(tmp_path, [{"query": "why?", "inputs": {"typed": "now"}}], 1.0)
        words = ["run", str(path), "Answer.", "--stdin", "--staircase", "constant:1,2,4", "--json"]
        done = staircase_process(*words, typed="what is the time")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["metrics"]["input_s"]["mean"] > 0

    def test_it_needs_an_input(self) -> None:
        done = staircase("run", "planner/demo.yaml", "--stdin", "--staircase", "normal")
        assert done.returncode == 2
        assert "--stdin: needs one request, and a pipeline with one input" in done.stderr


def typed_scenario(folder: Path, questions: Sequence[object], tokens_per_s: float) -> Path:
    """Four tiny models whose proposers read a typed question."""
    save_four_models(folder, 1)
    path = write_scenario(folder)
    content = yaml.safe_load(path.read_text())
    content["pipeline"]["inputs"] = {"typed": {"tokens_per_s": tokens_per_s}}
    content["requests"]["dataset"] = "typed.jsonl"
    (folder / "typed.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_dataset_without_it_is_told_before_anything_runs(tmp_path: Path) -> None:
    path = typed_scenario(tmp_path, [{"query": "why?"}], 1.0)
    with pytest.raises(WorkloadError, match="says nothing of the input 'typed'"):
        read_dataset(load_scenario(path), tmp_path, 1, 0)
    done = staircase("profile", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "says nothing of the input 'typed'" in done.stderr


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("gate: {shorter_than: 9}", "serve.gate: not for a pipeline with inputs"),
        ("shows_drafts: true", "serve.shows_drafts: not for a pipeline with inputs"),
    ],
)
def test_what_is_not_served_with_it(tmp_path: Path, key: str, words: str) -> None:
    path = typed_scenario(tmp_path, [{"query": "why?", "inputs": {"typed": "now"}}], 1.0)
    path.write_text(path.read_text() + f"\nserve: {{{key}}}\n")
    done = staircase("serve", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert words in done.stderr


def test_plans_are_not_made_again_of_it(tmp_path: Path) -> None:
    path = typed_scenario(tmp_path, [{"query": "why?", "inputs": {"typed": "now"}}], 1.0)
    done = staircase("serve", str(path), "--out", str(tmp_path / "out"), "--replan")
    assert done.returncode == 2
    assert "--replan: not for a pipeline with inputs" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_models_that_read_it_are_profiled_planned_and_validated(tmp_path: Path) -> None:
    """Profiling does not wait for what is typed; validating does."""
    words = " ".join(["word"] * 12)
    questions = [{"query": f"Answer {n}.", "inputs": {"typed": words}} for n in range(12)]
    path, out = str(typed_scenario(tmp_path, questions, 8.0)), ["--out", str(tmp_path / "out")]
    runs = {}
    for command in ("profile", "plan", "validate"):
        runs[command] = staircase(command, path, *out, "--json")
        assert runs[command].returncode == 0, runs[command].stderr
    for row in json.loads(runs["validate"].stdout)["rows"]:
        measured = row["measured"]
        assert measured["input_s"]["mean"] <= 12 / 8 * 1.2
        assert "start_after_input_s" in row["candidate"]["forecast"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_models_that_see_it_through_a_window_are_planned_and_validated(tmp_path: Path) -> None:
    """What that costs in quality no profile says; runs tell."""
    words = " ".join(["word"] * 12)
    questions = [{"query": f"Answer {n}.", "inputs": {"typed": words}} for n in range(12)]
    path, out = typed_scenario(tmp_path, questions, 8.0), ["--out", str(tmp_path / "out")]
    content = yaml.safe_load(path.read_text())
    content["plan"] |= {"window": ["4/2"], "layouts": ["rebuild"], "validated_front": 3}
    content["plan"]["max_unread"] = 1.0
    path.write_text(yaml.safe_dump(content))
    runs = {}
    for command in ("profile", "plan", "validate"):
        runs[command] = staircase(command, str(path), *out, "--json")
        assert runs[command].returncode == 0, runs[command].stderr
    why = "what a window drops (plan.window) is not in any profile of quality"
    assert why in " ".join(runs["profile"].stderr.split())
    rows = json.loads(runs["validate"].stdout)["rows"]
    dropped = [row for row in rows if row["candidate"]["schedule"]["window"]]
    assert dropped
    for row in rows:
        assert "loss" not in row["candidate"]["forecast"]
        assert 0 < row["measured"]["agreement"]["mean"] <= 1
    for row in dropped:
        assert row["measured"]["unread"]["mean"] == pytest.approx(
            row["candidate"]["forecast"]["unread"]["mean"], abs=0.2
        )
