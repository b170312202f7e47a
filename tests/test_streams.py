"""What follows of systems whose stages start on partial input."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.streams import (
    batched,
    chains,
    engines,
    inputs,
    parallel,
    retrieval,
    spoken,
    thinking,
    typed,
    votes,
)
from benchmarks.streams.__main__ import best
from benchmarks.streams.played import on_engines
from benchmarks.streams.row import CLOSE, Forecast, Row, Said
from profiles.hardware.roofline import PrefillChunk
from simulator.des.endpoint import EndpointSetup
from staircase import Pipeline, RequestShape, Schedule
from staircase.pipeline import Fork
from staircase.prompt import query
from staircase.timeline import to_ps, to_s


def hows(rows: list[Row]) -> list[str]:
    return [row.how for row in rows]


def misses(rows: list[Row]) -> list[Forecast]:
    return [row for row in rows if isinstance(row, Forecast) and row.how == "misses"]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 5))
def test_agents_in_a_row_are_as_fast_as_their_bound(agents: int, steps: int, step: int) -> None:
    """A·S/(S + A − 1): StreamMA (2606.05158), without prefill."""
    found = chains.speed_up(agents, steps, step)
    assert found == pytest.approx(agents * steps / (steps + agents - 1))


def test_a_printed_run_in_segments() -> None:
    found = [row for row in chains.run() if isinstance(row, Forecast)]
    misses = [row.what for row in found if row.how == "misses"]
    # Its first segment is longer than a quarter of what the first agent writes.
    assert misses == ["second agent begins"]
    assert len(found) == 6


def test_prompts_of_a_printed_run() -> None:
    """Each of four steps shows what was read and written before it: 10/4 of all that is read and
    6/4 of all that is written."""
    spans = [span for span in chains.run_in_segments().spans if span.agent == "b"]
    source, own = chains.TOKENS["a"], chains.TOKENS["b"]
    expected = 4 * chains.QUESTION_TOKENS + source * 10 / 4 + own * 6 / 4
    assert sum(span.prompt_tokens for span in spans) == pytest.approx(expected, rel=0.001)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(1, 5))
def test_balanced_seeing_and_speaking(pieces: int, piece: int) -> None:
    """2·n/(n + 1) in n pieces: at most twice as fast, by Speak While Watching (2601.06843)."""
    whole, streamed = inputs.whole_and_in_pieces(4.0, 0.25, pieces, piece)
    assert whole.e2e_s / streamed.e2e_s == pytest.approx(2 * pieces / (pieces + 1))


def test_notes_on_a_question_that_is_typed() -> None:
    """LiveMind (2406.14319): whole answers say how fast its models are, its latencies follow."""
    rows = list(typed.livemind())
    # Six tokens, beside a constant that the two rates have no room for.
    assert [row.what for row in misses(rows)] == ["70B, 1 notes, 6 tokens after the question"]
    assert len(rows) == 15


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 90))
def test_notes_in_time_cost_only_the_last_call(pieces: int, note: int, answer: int) -> None:
    speaker = typed.engine(typed.SMALL_ALONE)
    question = typed.Typed(1e4, (note,) * pieces + (answer,), 900, 0.0)
    last_ps = 900 * speaker.ttft_per_token_ps + answer * speaker.itl_ps
    assert typed.answered(question, speaker, speaker) == pytest.approx(to_s(last_ps))


def test_what_stands_of_an_early_answer() -> None:
    """PredGen (2506.15556): a pass for all that stands, and one for each token after it."""
    for answer in spoken.ANSWERS:
        after = answer.sentence_passes * spoken.pass_s()
        assert spoken.sentence_s(answer, early=True) == pytest.approx(after)
        assert spoken.sentence_s(answer, early=False) == pytest.approx(
            answer.sentence * spoken.pass_s()
        )
    assert hows(list(spoken.predgen())) == ["cross-checked"] * 2


def test_thinking_while_reading() -> None:
    """StreamingThinker (2510.17238): the rate of whole thinking gives what is left of it."""
    rows = [row for row in thinking.streaming_thinker() if isinstance(row, Forecast)]
    shallow = [row for row in rows if "depth 1" in row.what]
    # Its answers without further thought come after about a second, whatever they think of last.
    assert len(misses([*shallow])) == 6
    deep = [row.what.partition(",")[0] for row in misses([*rows]) if row not in shallow]
    assert deep == ["HotPotQA", "HotPotQA", "PubMedQA"]
    assert rows[-1].how == "follows"


def test_thinking_while_watching() -> None:
    """Think-as-You-See (2603.02872): four figures give thirteen others."""
    rows = list(thinking.think_as_you_see())
    assert hows(rows) == ["cross-checked"] * 13
    fixed = thinking.watching()
    # Thoughts that keep up leave one of them and the answer, all in ticks.
    tail_s = fixed.thinking(5).last_after_input_s
    assert tail_s == pytest.approx(fixed.thought_s + fixed.answer_s, abs=0.06)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(20, 400), st.integers(1, 20))
def test_threads_take_their_longest_path(threads: int, rest: int, each: int) -> None:
    """With the tokens of all of them kept, and at one rate."""
    in_a_row, path = rest + threads * each, rest + each
    assert sum(parallel.thread_tokens(in_a_row, path, threads).values()) == in_a_row
    found = parallel.token_latency(in_a_row, path, threads)
    assert found == pytest.approx(in_a_row / path, rel=0.001)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4), st.integers(20, 400), st.integers(1, 20))
def test_threads_as_forks(threads: int, rest: int, each: int) -> None:
    """Items at the end of an outline start threads when the outline ends."""
    plain = parallel.fork_join(threads)
    names = [agent.name for agent in plain if agent.name.startswith("thread")]
    forked = [
        replace(agent, fork=Fork("head", names.index(agent.name) + 1))
        if agent.name in names
        else replace(agent, items=" ")
        if agent.name == "head"
        else agent
        for agent in plain
    ]
    tokens = parallel.thread_tokens(rest + threads * each, rest + each, threads)
    items = [tokens["head"] - threads + n for n in range(threads)]
    asked = {query(agent.name): 1 for agent in plain}
    shape = RequestShape(asked, tokens, "length", items={"head": items})
    engine = {"model": EndpointSetup(to_ps(0.01), to_ps(0.01))}
    begun, waited = (
        on_engines(pipeline, Schedule(), shape, engine).completed_ps
        for pipeline in (Pipeline(tuple(forked), "tail"), plain)
    )
    assert begun == waited


def test_a_search_with_threads() -> None:
    """APR (2504.15466)."""
    assert hows(list(parallel.adaptive())) == ["follows", "cross-checked", "cross-checked"]


def test_branches_are_rows_of_a_step() -> None:
    """Multiverse (2506.09991)."""
    rows = [row for row in batched.multiverse() if isinstance(row, Forecast)]
    assert hows([*rows]) == ["follows"] * 5
    # The longer the texts, the more a second branch costs.
    gains = [row.forecast for row in rows[:3]]
    assert gains == sorted(gains, reverse=True)


def test_workers_that_look_at_each_other() -> None:
    """Hogwild! (2504.06261): two are forecast, four only as rows of a step."""
    rows = list(batched.hogwild())
    assert [row.what for row in misses(rows)] == [
        "4 workers as peers, 1,024 tokens",
        "4 workers as peers, 8,192 tokens",
        "4 workers as rows of a step, 16,384 tokens",
        "4 workers as peers, 16,384 tokens",
        "one worker, 8,192 tokens",
    ]
    assert hows(rows).count("follows") == 8


def test_the_best_of_a_system() -> None:
    found: list[Row] = [Said("a", "b", "c"), Forecast("a", "b", 1.0, 2.0), Said("d", "b", "c")]
    assert best([*found, Forecast("d", "b", 1.0, 1.1)]) == {"a": "implied", "d": "follows"}


@pytest.mark.slow
def test_thread_weaver_by_the_wall_clock() -> None:
    """Published mean token latencies give what 50 problems gain on four devices."""
    whole_s, threads_s = parallel.walls("H100-SXM", 2)
    published = parallel.WALL_S[0] / parallel.WALL_S[1]
    assert whole_s / threads_s == pytest.approx(published, rel=CLOSE)
    in_a_row, path, _ = parallel.THREAD_WEAVER["MATH500"]
    # More sequences at a time cost something.
    assert 1 < whole_s / threads_s < in_a_row / path


def test_sixteen_paths_take_less_than_twice_as_long() -> None:
    for model in batched.PATH_MODELS.values():
        costs = [batched.path_cost(model, paths, batched.PATHS_TOKENS) for paths in (1, 8, 16)]
        assert costs[0] == 1
        assert costs[0] < costs[1] < costs[2] < 2


@settings(max_examples=10, deadline=None)
@given(st.floats(0.55, 0.95), st.integers(1, 5), st.integers(0, 99))
def test_a_race_of_votes(p: float, lead: int, seed: int) -> None:
    """The closed forms against races that are drawn."""
    races = 20_000
    won, taken = votes.drawn(p, lead, races, seed)
    sure = votes.right(p, lead)
    assert won == pytest.approx(sure, abs=5 * (sure * (1 - sure) / races) ** 0.5 + 1e-9)
    assert taken == pytest.approx(votes.votes(p, lead), rel=0.06)


def test_the_lead_grows_with_the_logarithm_of_the_steps() -> None:
    """So the cost of all steps is of the order of s·ln s (MAKER, 2511.09030)."""
    leads = [votes.least_lead(0.9, 10**power, 0.95) for power in range(1, 13)]
    assert all(0 <= later - one <= 2 for one, later in pairwise(leads))
    # ln 10 / ln(p / (1 − p)) more for each factor of ten.
    assert leads[-1] - leads[0] == pytest.approx(11 * 2.3026 / 2.1972, abs=1)


def test_the_lead_of_the_million_steps() -> None:
    error = votes.ERRORS["gpt-4.1-mini"]
    assert votes.least_lead(1 - error, votes.STEPS, votes.TARGET) == 3
    assert votes.right(1 - error, 2) ** votes.STEPS < votes.TARGET


def test_an_engine_as_measured() -> None:
    assert hows(list(engines.vllm())) == ["follows", "follows"]


def test_a_ring_is_not_what_token_weave_measures() -> None:
    rows = list(engines.token_weave())
    assert hows(rows)[:3] == ["misses"] * 3
    assert all(0.15 < engines.all_reduce_share(tokens, 0.5) < 0.25 for tokens in (1024, 8192))


def test_lengths_of_a_crawl_have_what_is_published_of_them() -> None:
    drawn = sorted(retrieval.lengths(retrieval.REQUESTS, 1))
    assert sum(drawn) / len(drawn) == pytest.approx(retrieval.MEAN_TOKENS, rel=0.001)
    # The quartile was not used.
    assert drawn[3 * len(drawn) // 4] == pytest.approx(11167, rel=0.02)
    assert drawn[95 * len(drawn) // 100] == pytest.approx(retrieval.P95_TOKENS, rel=0.01)


@pytest.mark.slow
def test_a_crawl_under_load() -> None:
    """One factor, from the lightest load on one device, gives the medians of heavier ones."""
    factor = retrieval.fitted((1,))
    for load in [load for load in retrieval.LOADS if load.rate_per_s <= 2][1:]:
        median, late = retrieval.whole(load.hardware, load.rate_per_s, factor, (1,))
        assert median == pytest.approx(load.whole_s[0], rel=CLOSE)
        # At heavier loads the 95 % needs more than one order of the requests.
        if load.rate_per_s <= 1:
            assert late == pytest.approx(load.whole_s[1], rel=CLOSE)


def test_the_last_page_is_what_is_left_to_read() -> None:
    """At a light load the first token after it takes as long as a prompt of a page at most."""
    page, light = round(retrieval.MEAN_TOKENS / retrieval.MEAN_PAGES), 0.01
    roofline = retrieval.roofline("H200")
    most = roofline.iteration_s([PrefillChunk(page + 16, retrieval.P95_TOKENS)], 0, 0)
    found = retrieval.streamed("H200", light, 1.0, 200)
    assert 0.002 < found < most + 0.001 + roofline.iteration_s([], 1, retrieval.P95_TOKENS)


def test_what_is_far_off_misses() -> None:
    assert Forecast("a", "b", 1.0, 1.16).how == "misses"
    assert Forecast("a", "b", 1.0, 0.86, basis="restated").how == "restated"
    assert Said("a", "b", "c").cells == ("a", "b", "c", "", "implied")
