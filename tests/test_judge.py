"""The judge: what it is asked, what its replies say, what two runs are worth beside each other."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.special import expit

from executor.scoring.judge import Judge
from executor.scoring.verdicts import Pairing, Ruling, read_reply
from planner.evaluation.judging import all_pairings, judge_pairs, read_pairs
from planner.evaluation.win_rate import (
    JudgedPair,
    arena_hard,
    length_controlled,
    length_fit,
    plain,
    win_rates,
)
from planner.tables.judge_table import count_lines, rates_table
from staircase.errors import RecordError, ScenarioError
from staircase.records import Exchange, write_records
from staircase.spec.engine_spec import JudgeSpec
from staircase.spec.scenario import load_scenario
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Manners, Reply
from tests.test_cli import DEMO
from tests.test_compare import timeline

VERDICTS = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}


class TestReplies:
    @pytest.mark.parametrize(("label", "strength"), VERDICTS.items())
    def test_labels(self, label: str, strength: int) -> None:
        words = f"A is … so my verdict is [[{label}]]."
        assert read_reply(words) == Ruling("verdict", strength, words)

    @pytest.mark.parametrize(("label", "strength"), [("B<<A", 2), ("A<B", -1), ("B=A", 0)])
    def test_mirrored_labels(self, label: str, strength: int) -> None:
        assert read_reply(f"[[{label}]]").strength == strength

    def test_a_label_may_be_repeated_but_not_changed(self) -> None:
        assert read_reply("[[A>B]] … [[B<A]]").strength == 1
        assert read_reply("[[A>B]] or [[B>A]]").fate == "unparsable"

    @pytest.mark.parametrize("words", ["", "A is better", "[[A]]", "[[A>A]]", "[A>B]", "[[B>>B]]"])
    def test_unparsable(self, words: str) -> None:
        assert read_reply(words).fate == "unparsable"

    @pytest.mark.parametrize(
        "words", ["I'm sorry, but I can’t judge this.", "I cannot help.", "**Sorry**, no."]
    )
    def test_refusals(self, words: str) -> None:
        assert read_reply(words).fate == "refusal"

    def test_a_refusal_that_the_server_tells(self) -> None:
        assert read_reply("", is_refusal=True).fate == "refusal"
        assert read_reply("Sorry to say: [[B>A]]").strength == -1, "a verdict is one"

    def test_the_prompt_holds_everything_once_and_in_order(self) -> None:
        prompt = Pairing("{q} [[A>B]]", "one", "two", "known").prompt
        places = [prompt.index(f"\n{words}\n") for words in ("{q} [[A>B]]", "known", "one", "two")]
        assert places == sorted(places)
        assert "known_answer" not in Pairing("q", "one", "two").prompt


def pair(first: int | None, second: int | None, extra: int = 0) -> JudgedPair:
    """``first`` is the baseline's strength in game 1, ``second`` the candidate's in game 2."""

    def ruling(strength: int | None) -> Ruling:
        return Ruling("unparsable" if strength is None else "verdict", strength)

    return JudgedPair(0, ruling(first), ruling(second), extra)


class TestWinRates:
    def test_by_hand(self) -> None:
        # Candidate: 1 and 1 (one of them strong), 1/2 and 1/2, 0 and 1, 0 and 0, no verdict.
        pairs = [pair(-2, 1), pair(0, 0), pair(1, 1), pair(1, -1), pair(None, 2)]
        found = win_rates(pairs)
        assert (found.pairs, found.judged) == (5, 4)
        assert (found.wins, found.ties, found.losses, found.inconsistent) == (1, 2, 1, 1)
        assert found.win_rate.value == (1 + 0.5 + 0.5 + 0) / 4
        # Weights 3, 1 · 1, 1 · 1, 1 · 1, 1.
        assert found.arena_hard.value == pytest.approx((3 + 1 + 0.5 + 0.5 + 0 + 1) / 10)
        # First place: lost, won · tie, tie · won, won · won, lost.
        assert found.first_wins == pytest.approx((0 + 1 + 0.5 + 0.5 + 1 + 1 + 1 + 0) / 8)
        assert found.fates["unparsable"] == 1
        assert found.win_rate.low < found.win_rate.value < found.win_rate.high

    def test_nothing_judged_is_undefined(self) -> None:
        found = win_rates([pair(None, None)])
        assert math.isnan(found.win_rate.value)
        assert math.isnan(found.length_controlled.low)
        assert math.isnan(win_rates([pair(1, 1)]).win_rate.low), "one pair has no interval"

    @given(st.lists(st.tuples(*[st.integers(-2, 2)] * 2, st.integers(-99, 99)), min_size=1))
    def test_exchanging_the_runs_turns_every_rate_round(
        self, games: list[tuple[int, int, int]]
    ) -> None:
        rows = np.array(games, dtype=float)
        strengths, extra = rows[:, :2], rows[:, 2]
        for rate in (plain, arena_hard, length_controlled):
            here, there = rate(strengths, extra), rate(-strengths, -extra)
            assert 0 <= here <= 1
            assert here == pytest.approx(1 - there, abs=1e-4)

    def test_the_regression_finds_what_made_the_data(self) -> None:
        rng = np.random.default_rng(1)
        extra = rng.normal(100, 300, 4000)
        x = np.tanh(extra / extra.std(ddof=1))
        scores = (rng.random(4000) < expit(-0.4 + 1.5 * x)).astype(float)
        assert length_fit(scores, extra) == pytest.approx([-0.4, 1.5], abs=0.15)

    def test_length_control_removes_what_length_won(self) -> None:
        # A judge that only likes length, and a candidate that is mostly longer.
        rng = np.random.default_rng(2)
        extra = rng.normal(200, 200, 2000)
        wins = rng.random(2000) < expit(3 * np.tanh(extra / extra.std(ddof=1)))
        strengths = np.where(wins, 1.0, -1.0)[:, None].repeat(2, axis=1)
        assert plain(strengths, extra) > 0.7
        assert length_controlled(strengths, extra) == pytest.approx(0.5, abs=0.06)
        assert length_controlled(strengths, np.zeros(2000)) == pytest.approx(
            plain(strengths, extra), abs=1e-3
        ), "nothing to control for"


# One scripted judge: the question's first word says how it behaves.
def scripted(prompt: str) -> Reply | None:
    asked = re.search(
        r"<request>\n(\w+).*<answer_of_A>\n(.*)\n</answer_of_A>.*<answer_of_B>\n(.*)\n</answer",
        prompt,
        re.DOTALL,
    )
    if not asked:
        return None
    kind, first, _ = asked.groups()
    fair = "A>>B" if first == "good" else "B>>A"
    replies = {
        "fair": Reply(f"I weighed both. [[{fair}]]"),
        "biased": Reply("The first one. [[A>B]]"),
        "tie": Reply("[[A=B]]"),
        "shy": Reply("I'm sorry, I can't judge that."),
        "filtered": Reply("", reason="content_filter"),
        "refusing": Reply("no", refuses=True),
        "vague": Reply("Both have merits."),
        "broken": Reply("gone", status=400),
    }
    return replies[kind]


KINDS = ["fair", "fair", "biased", "tie", "shy", "filtered", "refusing", "vague", "broken"]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer(Manners(reply=scripted)) as fake:
        yield fake


def write_run(path: Path, answers: list[tuple[str, str | None]]) -> Path:
    """Questions and answers; None where the request failed."""
    lines = [timeline(number, 0, [1]) for number in range(len(answers))]
    said = [Exchange(question=question, answer=answer) for question, answer in answers]
    write_records(path, lines, exchanges=said)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Beside one of each kind: identical answers, and failures of one run, the other and both."""
    more: list[tuple[str, str | None, str | None]] = [
        ("fair", "same", "same"),
        ("fair", None, "good"),
        ("fair", "bad", None),
        ("fair", None, None),
    ]
    kinds: list[tuple[str, str | None, str | None]] = [(kind, "bad", "good") for kind in KINDS]
    rows = [(f"{kind} {n}", one, two) for n, (kind, one, two) in enumerate(kinds + more)]
    baseline = write_run(tmp_path / "a.jsonl", [(question, one) for question, one, _ in rows])
    candidate = write_run(tmp_path / "b.jsonl", [(question, two) for question, _, two in rows])
    return baseline, candidate


def spec(fake: FakeServer) -> JudgeSpec:
    return JudgeSpec(base_url=fake.url, model="j", tries=2, max_concurrency=3)


class TestScriptedJudge:
    def test_everything_is_counted(
        self, fake: FakeServer, runs: tuple[Path, Path], tmp_path: Path
    ) -> None:
        answers, judge = read_pairs(*runs), Judge(spec(fake), tmp_path / "j.jsonl")
        found = judge_pairs(judge, answers, lambda: None)
        assert (answers.baseline_only, answers.candidate_only, answers.unanswered) == (1, 1, 1)
        rates = found.rates
        assert rates.pairs == len(KINDS) + 1
        assert rates.fates == {
            "verdict": 8,
            "identical": 2,
            "refusal": 6,
            "unparsable": 2,
            "failed": 2,
        }
        assert sum(rates.fates.values()) == 2 * rates.pairs
        assert (rates.judged, rates.inconsistent) == (5, 1)
        assert (rates.wins, rates.ties, rates.losses) == (2, 3, 0)
        assert rates.win_rate.value == (2 + 3 / 2) / 5
        assert "HTTP 400: gone" in str(found.failure)
        assert fake.most <= 3

    def test_both_orders_are_asked(
        self, fake: FakeServer, runs: tuple[Path, Path], tmp_path: Path
    ) -> None:
        judge_pairs(Judge(spec(fake), tmp_path / "j.jsonl"), read_pairs(*runs), lambda: None)
        prompts = [body["messages"][0]["content"] for body in fake.bodies if "messages" in body]
        games = [prompt for prompt in prompts if "\ntie 3\n" in prompt]
        assert len(games) == 2
        assert {game.index("\ngood\n") < game.index("\nbad\n") for game in games} == {True, False}

    def test_only_what_is_missing_is_asked_again(
        self, fake: FakeServer, runs: tuple[Path, Path], tmp_path: Path
    ) -> None:
        answers, path = read_pairs(*runs), tmp_path / "j.jsonl"
        steps: list[int] = []
        first = judge_pairs(Judge(spec(fake), path), answers, lambda: steps.append(1))
        assert len(steps) == 2 * len(KINDS)
        # An interrupt cut off the last line.
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
        judge = Judge(spec(fake), path)
        assert len(judge.unasked(all_pairings(answers))) == 2 + 1, "failed calls, and the cut line"
        assert judge_pairs(judge, answers, lambda: None) == first
        assert len(Judge(spec(fake), path).unasked(all_pairings(answers))) == 2
        other = spec(fake).model_copy(update={"model": "another"})
        assert len(Judge(other, path).unasked(all_pairings(answers))) == 2 * len(KINDS)

    def test_without_anything_to_ask_no_server_is_needed(
        self, runs: tuple[Path, Path], tmp_path: Path
    ) -> None:
        nowhere = JudgeSpec(base_url="http://127.0.0.1:9/v1", model="j", tries=1)
        game = Pairing("q", "same", "same")
        assert Judge(nowhere, tmp_path / "j.jsonl").rule([game]) == [Ruling("identical", 0)]

    @pytest.mark.parametrize(
        ("line", "words"),
        [("{}", "with a key"), ('{"key": "x", "fate": "no"}', "fate"), ("{", "not JSON")],
    )
    def test_a_file_of_something_else_is_told(
        self, fake: FakeServer, tmp_path: Path, line: str, words: str
    ) -> None:
        (tmp_path / "j.jsonl").write_text(f"{line}\n")
        with pytest.raises(RecordError, match=f"j.jsonl, line 1: .*{words}"):
            Judge(spec(fake), tmp_path / "j.jsonl")


class TestRunsThatCannotBeCompared:
    def test_other_questions(self, tmp_path: Path) -> None:
        one = write_run(tmp_path / "a.jsonl", [("q", "x")])
        other = write_run(tmp_path / "b.jsonl", [("p", "x")])
        with pytest.raises(RecordError, match=r"b.jsonl: request 0 asks something else"):
            read_pairs(one, other)

    def test_no_answers(self, tmp_path: Path) -> None:
        write_records(tmp_path / "a.jsonl", [timeline(0, 0, [1])])
        with pytest.raises(RecordError, match=r"a.jsonl: holds no answers; 'staircase run --save'"):
            read_pairs(tmp_path / "a.jsonl", tmp_path / "a.jsonl")


class TestCommand:
    def judged(self, folder: Path, runs: tuple[Path, Path], judge: str) -> Any:
        scenario = folder / "s.yaml"
        scenario.write_text(f"{DEMO.read_text()}\n{judge}")
        files = ("--baseline", str(runs[0]), "--candidate", str(runs[1]), "--out", str(folder))
        return staircase("judge", str(scenario), *files, "--json")

    def test_json(self, fake: FakeServer, runs: tuple[Path, Path], tmp_path: Path) -> None:
        done = self.judged(tmp_path, runs, f"judge: {{base_url: '{fake.url}', model: j, tries: 1}}")
        assert done.returncode == 1, "a call failed"
        assert "2 calls of the judge failed; run again to make only these" in done.stderr
        found = json.loads(done.stdout)
        assert found["win_rate"]["value"] == 0.7
        assert found["candidate_only"] == 1
        assert len((tmp_path / "judgements.jsonl").read_text().splitlines()) == 16

    def test_a_scenario_without_a_judge(self, runs: tuple[Path, Path], tmp_path: Path) -> None:
        done = self.judged(tmp_path, runs, "")
        assert done.returncode == 2
        assert "judge: is missing; needs a base_url and a model" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_every_count_is_shown(
        self, fake: FakeServer, runs: tuple[Path, Path], tmp_path: Path
    ) -> None:
        judge = Judge(spec(fake), tmp_path / "j.jsonl")
        found = judge_pairs(judge, read_pairs(*runs), lambda: None)
        screen = Console(file=io.StringIO(), width=120)
        screen.print(rates_table(found.rates), *count_lines(found), sep="\n")
        text = screen.file.getvalue()  # type: ignore[attr-defined]
        for words in ("win rate", "70.0", "1 turned with the order", "6 refusals", "2 replies"):
            assert words in text
        for words in ("2 identical", "2 failed", "1 requests that only the baseline", "1 neither"):
            assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ({"base_url": "http://h/v1", "modl": "x"}, "judge: unknown key 'modl'; did you mean"),
        ({"base_url": "http://h/v1", "model": "x", "api_key_env": "sk-1"}, "judge.api_key_env"),
        ({"model": "x"}, "judge.base_url: Field required"),
    ],
)
def test_a_wrong_judge_is_told(tmp_path: Path, judge: dict[str, str], words: str) -> None:
    content = yaml.safe_load(DEMO.read_text()) | {"judge": judge}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ScenarioError, match=words):
        load_scenario(tmp_path / "s.yaml")
