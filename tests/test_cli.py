"""The command line: help, wrong input, and the main job from end to end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import staircase
from tests.support.report_charts import check_charts, specs
from tests.support.report_numbers import check_numbers

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "tests" / "support" / "desk.yaml"


@pytest.mark.parametrize(
    "command",
    [
        "",
        "profile",
        "plan",
        "explain",
        "simulate",
        "compare",
        "validate",
        "tune",
        "engines",
        "demo",
    ],
)
def test_help(command: str) -> None:
    done = staircase(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def change(text: str, new: str) -> str:
    demo = DEMO.read_text()
    assert text in demo
    return demo.replace(text, new)


def server(url: str, key: str = "KEY") -> str:
    return f"north: {{kind: openai, base_url: '{url}', model: m, api_key_env: {key}}}"


WRONG: dict[str, tuple[Callable[[], str], str]] = {
    "unknown key": (
        lambda: change("requests: 48", "request: 48"),
        r"profile: unknown key 'request'; did you mean 'requests'\?",
    ),
    "wrong type": (lambda: change("trials: 200", "trials: many"), "plan.trials"),
    "negative count": (lambda: change("trials: 200", "trials: -1"), "plan.trials"),
    "negative chunk": (
        lambda: change("trials: 200", "trials: 2\n  chunk: [-8]"),
        r"plan.chunk.0.*greater than or equal to 1",
    ),
    "agent that nobody reads": (
        lambda: change(
            "moa:\n    layers: [[north, south, east]]\n    answer: editor\n  agents:",
            "answer: editor\n  agents:",
        ),
        "nobody reads agent 'north'",
    ),
    "cycle": (
        lambda: yaml.safe_dump(
            {
                "name": "x",
                "engines": {"e": {"model": "embedded"}},
                "pipeline": {
                    "answer": "a",
                    "agents": {
                        "a": {"engine": "e", "reads": ["b"]},
                        "b": {"engine": "e", "reads": ["a"]},
                    },
                },
            }
        ),
        "cycle",
    ),
    "engine that is not defined": (
        lambda: change("  north: {model: embedded}\n", ""),
        "runs on 'north', which is not defined",
    ),
    "engine of an unknown kind": (
        lambda: change("north: {model: embedded}", "north: {kind: endpont, model: embedded}"),
        r"engines.north: .*'endpont'.*'transformers', 'simulated', 'endpoint'",
    ),
    "endpoint without its latency": (
        lambda: change("north: {model: embedded}", "north: {kind: endpoint, ttft_s: 0.4}"),
        r"engines.north.endpoint: itl_s is missing: give ttft_s and itl_s, or profile",
    ),
    "endpoint with a latency of nothing": (
        lambda: change("north: {model: embedded}", "north: {kind: endpoint, ttft_s: 0, itl_s: 1}"),
        r"engines.north.endpoint.ttft_s: .*greater than 0",
    ),
    "server at no URL": (
        lambda: change("north: {model: embedded}", server("127.0.0.1:8000/v1")),
        r"engines.north.openai.base_url: must be a URL such as http://127.0.0.1:8000/v1",
    ),
    "server with a password in its URL": (
        lambda: change("north: {model: embedded}", server("http://me:word@host/v1")),
        r"engines.north.openai.base_url: must hold no name, password",
    ),
    "key in the file": (
        lambda: change("north: {model: embedded}", server("http://h/v1", "sk-abc")),
        r"engines.north.openai.api_key_env: must be the name of an environment variable",
    ),
    "server without a model": (
        lambda: change("north: {model: embedded}", "north: {kind: openai, base_url: 'http://h'}"),
        r"engines.north.openai.model: Field required",
    ),
    "server beside an endpoint": (
        lambda: change(
            "north: {model: embedded}\n  south: {model: embedded}",
            f"{server('http://h/v1')}\n  south: {{kind: endpoint, ttft_s: 1, itl_s: 1}}",
        ),
        r"engines: 'north' is behind a server and 'south' simulated",
    ),
    "not yaml": (lambda: "a: [", "not YAML"),
    "no mapping": (lambda: "- a", "must be a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_scenarios_get_one_line_and_exit_code_2(case: str, tmp_path: Path) -> None:
    text, words = WRONG[case]
    path = tmp_path / "scenario.yaml"
    path.write_text(text())
    done = staircase("plan", str(path), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}")
    assert "word@" not in done.stderr
    assert "sk-abc" not in done.stderr
    assert re.search(words, done.stderr)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_profile_is_told(tmp_path: Path) -> None:
    done = staircase("plan", str(DEMO), "--out", str(tmp_path))
    assert done.returncode == 2
    assert f"error: {tmp_path}/latency.json: no latency profile" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("model", ["./nowhere", "."])
def test_a_folder_that_is_no_model_is_told(tmp_path: Path, model: str) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(DEMO.read_text().replace("model: embedded", f"model: {model}"))
    done = staircase("profile", str(path), cwd=tmp_path)
    assert done.returncode == 2
    assert f"error: model '{model}': no such folder with a config.json" in done.stderr
    assert done.stderr.count("\n") == 1


def test_simulated_engines_need_no_profile(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    words = ["simulate", "examples/paper_moa.yaml", "--staircase", "constant:8,128,60"]
    done = staircase(*words, "--requests", "2", "--trace", str(trace))
    assert done.returncode == 0, done.stderr
    assert re.search(r"TTFT ms\W+462", done.stdout)
    assert json.loads(trace.read_text())["traceEvents"]
    # What it would have said is unread.
    done = staircase(*words, "--requests", "2", "--without", "third", "--json")
    found = json.loads(done.stdout)
    assert found["schedule"]["without"] == ["third"]
    assert found["forecast"]["unread"]["mean"] > 780 / (1046 + 900 + 780)
    wrong = staircase(*words, "--without", "fourth")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: without 'fourth': must be an agent that reads nobody")
    wrong = staircase("profile", "examples/paper_moa.yaml", "--out", str(tmp_path))
    assert wrong.returncode == 2
    assert "is simulated: there is nothing to run" in wrong.stderr


def test_an_objective_that_needs_more_is_told(tmp_path: Path) -> None:
    words = ["plan", "examples/paper_moa.yaml", "--out", str(tmp_path), "--trials", "5"]
    wrong = staircase(*words, "--objective", "capacity")
    assert wrong.returncode == 2
    assert "error: plan.objectives: 'capacity' is not known here" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    wrong = staircase(*words, "--limit", "ttft")
    assert wrong.returncode == 2
    assert "error: limit 'ttft': must be FIGURE=VALUE" in wrong.stderr


def test_endpoints_are_simulated_beside_replicas(tmp_path: Path) -> None:
    words = ["simulate", "examples/endpoints.yaml", "--staircase", "constant:16,64,32", "--json"]
    done = staircase(*words, "--requests", "4")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["forecast"]["ttft_s"]["mean"] > 0.4
    assert staircase(*words, "--requests", "4").stdout == done.stdout
    path = tmp_path / "tight.yaml"
    text = (ROOT / "examples" / "endpoints.yaml").read_text()
    path.write_text(text.replace("tokens_per_min: 200000", "tokens_per_min: 600"))
    tight = staircase("simulate", str(path))
    assert tight.returncode == 2
    assert "never fit its tokens_per_min of 600" in tight.stderr
    assert tight.stderr.count("\n") == 1


def test_a_workload_that_forgets_an_agent_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text((ROOT / "examples" / "paper_moa.yaml").read_text().replace("third: 780, ", ""))
    done = staircase("simulate", str(path))
    assert done.returncode == 2
    assert "does not say how much 'third' writes" in done.stderr


def test_throughput_goodput_and_a_record_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    words = ["simulate", "examples/paper_moa.yaml", "--requests", "2", "--save", str(path)]
    limits = ["--slo", "ttft:10", "--slo", "e2e:1e6"]
    done = staircase(*words, *limits)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 requests in " in done.stdout
    assert "goodput within ttft:10, e2e:1e6 ms: 0.000 requests/s, 0.0 %" in done.stdout
    run = json.loads(staircase(*words, "--slo", "e2e:1e6", "--json").stdout)["run"]
    assert run["good_share"] == 1
    compared = staircase("compare", str(path), str(path), "--json")
    assert compared.returncode == 0, compared.stderr
    found = json.loads(compared.stdout)
    assert found["pairs"] == 2
    assert found["metrics"]["ttft_s"]["bias"] == 0
    assert found["metrics"]["ttft_s"]["pearson"] is None, "both requests are alike"
    assert "2 requests, 2 answered in both" in staircase("compare", str(path), str(path)).stdout


OWN = '{"request": 0, "arrival_s": 0, "token_s": [1], "ttft_s": 1}'
WRONG_RECORDS = {
    "another file": ("name: x", r", line 1: not JSON"),
    "no record": ('{"name": 1}', "no record of requests"),
    "list": ("[1]", r"must be an object"),
    "empty": ("", "holds no request"),
    "own key": (OWN, "smooth_start_s: Field required"),
    "vllm without details": ('{"request_throughput": 1}', "no key 'ttfts'.*--save-detailed"),
    "vllm's lists": (
        '{"ttfts": [1, 1], "itls": [[]], "output_lens": [1, 1], "errors": ["", ""]}',
        "'itls' has 1 entries, 'ttfts' 2",
    ),
    "serving sim": (
        '{"queued_ts": 1, "first_token_ts": 2, "last_token_ts": 2, "output_toks": 1}\n'
        '{"queued_ts": 1, "last_token_ts": "x", "output_toks": 1}',
        ", line 2: first_token_ts: Field required",
    ),
}


@pytest.mark.parametrize("case", WRONG_RECORDS)
def test_wrong_records_get_one_line_and_exit_code_2(case: str, tmp_path: Path) -> None:
    text, words = WRONG_RECORDS[case]
    path = tmp_path / "record"
    path.write_text(text)
    done = staircase("compare", str(path), str(path))
    assert done.returncode == 2
    assert re.match(f"error: {path}.*{words}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_limits_and_places_are_told_and_leave_nothing(tmp_path: Path) -> None:
    words = ["simulate", "examples/paper_moa.yaml", "--requests", "1", "--save", str(tmp_path)]
    limit = staircase(*words, "--slo", "speed:3")
    assert (limit.returncode, limit.stderr.count("\n")) == (2, 1)
    assert "error: SLO 'speed:3': must be ttft:MS, tpot:MS or e2e:MS" in limit.stderr
    place = staircase(*words)
    assert (place.returncode, place.stderr.count("\n")) == (2, 1)
    assert f"error: {tmp_path}: cannot be written" in place.stderr
    assert not list(tmp_path.iterdir())


def paper_with(workload: str, output: str) -> str:
    """The paper's scenario with other lines in its workload, and other lengths."""
    paper = (ROOT / "examples" / "paper_moa.yaml").read_text()
    before, _, _ = paper.partition("  query_tokens:")
    return f"{before}{workload}\n  output_tokens: {output}\n"


TRACE = "  trace: {file: trace.jsonl, format: own}"
OTHERS = "{first: 9, second: 9, third: 9}"


@pytest.mark.parametrize(
    ("keys", "file", "words"),
    [
        ("", "trace.jsonl", ": no such file; it should be a trace"),
        ("  rate_per_s: 2", "scenario.yaml", ": workload: rate_per_s must not be given beside"),
    ],
)
def test_wrong_traces_get_one_line_and_exit_code_2(
    keys: str, file: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(paper_with(f"{TRACE}\n{keys}", OTHERS))
    done = staircase("simulate", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / file}{words}")
    assert done.stderr.count("\n") == 1


def test_a_trace_lies_beside_its_scenario(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(paper_with(TRACE, OTHERS))
    row = {"arrival_s": 1.0, "query_tokens": 100, "output_tokens": 20}
    (tmp_path / "trace.jsonl").write_text(json.dumps(row) + "\n")
    done = staircase("simulate", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["forecast"]["ttft_s"]["mean"] > 0
    with (tmp_path / "trace.jsonl").open("a") as file:
        file.write("{}\n")
    wrong = staircase("simulate", str(path))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: {tmp_path}/trace.jsonl, line 2: no 'arrival_s'")


@pytest.mark.slow
def test_run_writes_the_answer_and_nothing_else_to_stdout(tmp_path: Path) -> None:
    words = ["run", "planner/demo.yaml", "--staircase", "constant:8,16,8"]
    record = tmp_path / "record.jsonl"
    done = staircase(*words, "--save", str(record))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("good evening")
    assert done.stdout.count("\n") == 1
    assert "Measured" in done.stderr
    row = json.loads(record.read_text())
    assert row["answer_tokens"] == len(row["token_s"]) > 10
    assert row["answer"] == done.stdout.strip()
    assert row["question"].startswith("bulletin\nnorth: ")
    assert 0 <= row["score"] <= 1
    many = staircase(*words, "--requests", "3", "--concurrency", "2", "--rate", "20")
    assert many.returncode == 0, many.stderr
    assert "3 of 3 requests" in many.stdout


def test_run_without_a_plan_says_what_to_do(tmp_path: Path) -> None:
    done = staircase("run", "planner/demo.yaml", "--out", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/plan.json: no plan; make one with 'staircase plan', "
        "or give --staircase\n"
    )


@pytest.mark.slow
def test_an_interrupted_profile_goes_on(tmp_path: Path) -> None:
    """After an interrupt the samples stay, and the next run uses them all."""
    path, out = tmp_path / "small.yaml", tmp_path / "out"
    path.write_text(DEMO.read_text().replace("requests: 48", "requests: 2"))
    words = ["profile", str(path), "--out", str(out), "--budget"]
    partial = out / "latency.partial.jsonl"
    command = [sys.executable, "-m", "planner.cli.app", *words, "1000"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: partial.exists() and partial.read_text().count("\n") >= 20)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"kept: {partial}; the same command goes on from there" in told
    assert not (out / "latency.json").exists()
    samples = partial.read_text()
    partial.write_text(samples + samples.splitlines()[0].replace("seconds", "hours") + "\n")
    done = staircase(*words, "0.1")
    assert done.returncode == 0, done.stderr
    assert f"{partial}: 1 samples were edited; they are not used" in done.stderr
    assert not partial.exists()
    assert (out / "latency.json").exists()


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise TimeoutError


@pytest.mark.slow
def test_the_main_job(tmp_path: Path) -> None:
    """Profile, plan, validate, one after the other, on the embedded models."""
    path = tmp_path / "small.yaml"
    small = DEMO.read_text().replace("requests: 48", "requests: 6").replace("200", "20")
    path.write_text(small)
    out = ["--out", str(tmp_path / "out")]
    for command in ("profile", "plan"):
        assert staircase(command, str(path), *out).returncode == 0
    done = staircase("validate", str(path), *out, "--requests", "3", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert {"normal", "paper default", "chosen"} <= rows.keys()
    assert rows["normal"]["measured"]["loss"]["mean"] == 0
    assert rows["normal"]["measured"]["ttft_s"]["mean"] > 0
    page = (tmp_path / "out" / "report.html").read_text()
    documents = {
        kind: json.loads((tmp_path / "out" / f"{kind}.json").read_text())["content"]
        for kind in ("plan", "validation")
    }
    assert check_numbers(page, documents) > 100  # how many depends on the front
    assert check_charts(page, documents) > 200
    assert len(specs(page)) == 16
    told = staircase("explain", str(path), *out)
    assert "measured over 3 requests, normal: " in told.stdout
    assert json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
    for kind in (rows["chosen"]["candidate"]["forecast"], rows["chosen"]["measured"]):
        assert 0 <= kind["score"]["mean"] <= 1
    assert rows["chosen"]["measured"]["nll_gap"]["mean"] < 0.1
    forecast = staircase("simulate", str(path), *out, "--staircase", "constant:8,16,8", "--json")
    assert json.loads(forecast.stdout)["forecast"]["ttft_s"]["mean"] > 0
    wrong = staircase("simulate", str(path), *out, "--staircase", "constant:8,-1,8")
    assert wrong.returncode == 2
