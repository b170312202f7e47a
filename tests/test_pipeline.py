import pytest

from staircase import Agent, Pipeline, chain, debate, moa, single
from staircase.errors import PipelineError


def reads(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    return {agent.name: agent.reads for agent in pipeline}


def test_constructors_draw_the_same_thing_with_other_edges() -> None:
    assert reads(single("m")) == {"m": ()}
    assert reads(chain(["a", "b"])) == {"a": (), "b": ("a",)}
    assert reads(moa([["a", "b"], ["c"]], "z")) == {
        "a": (),
        "b": (),
        "c": ("a", "b"),
        "z": ("c",),
    }
    assert reads(debate(["a", "b"], 2))["a.2"] == ("a.1", "b.1")
    assert debate(["a", "b"], 2)["a.2"].engine == "a"


def test_sources_come_before_their_readers() -> None:
    order = [agent.name for agent in moa([["a", "b"], ["c", "d"]], "z").order]
    assert order.index("c") > order.index("a")
    assert order[-1] == "z"


@pytest.mark.parametrize(
    ("agents", "answer", "words"),
    [
        ([Agent("a", reads=("b",)), Agent("b", reads=("a",))], "a", "cycle"),
        ([Agent("a"), Agent("b")], "b", "nobody reads agent 'a'"),
        ([Agent("a"), Agent("a")], "a", "twice"),
        ([Agent("a", reads=("x",))], "a", "reads 'x'"),
        ([Agent("a")], "z", "answer 'z'"),
        ([Agent("b"), Agent("a", reads=("b", "b"))], "a", "twice"),
    ],
)
def test_wrong_pipelines_say_what_is_wrong(agents: list[Agent], answer: str, words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        Pipeline(tuple(agents), answer)


def test_wrong_agents() -> None:
    with pytest.raises(PipelineError, match="max_tokens"):
        Agent("a", max_tokens=0)
    with pytest.raises(PipelineError, match="name"):
        Agent("a/b")
