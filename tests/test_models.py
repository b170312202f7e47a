"""In-process engines as scenarios name them: real or random weights, one slot or more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.utils._python_dispatch import TorchDispatchMode

from executor.embedded_models import MODEL_FOLDERS
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.models import load_model, load_tokenizer
from executor.inprocess.transformers_engine import TransformersEngine
from executor.opened_engines import open_engines
from executor.runtime import Job
from executor.tokens.byte_tokenizer import ByteTokenizer
from staircase import Schedule, constant, uniform
from staircase.errors import ModelError
from staircase.spec.engine_spec import EngineSpec
from staircase.spec.scenario import Scenario
from staircase.workload import Question

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 2,
}


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A folder with a config.json and nothing else."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return str(tmp_path)


class LargeDtypes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the types of all tensors with so many elements as only weights have."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.numel() >= 64 * 32:
            self.seen.add(made.dtype)
        return made


class TestDummyWeights:
    def test_are_made_in_their_type(self, bare: str) -> None:
        with LargeDtypes() as large:
            model = load_model(bare, "cpu", "bfloat16", "dummy")
        assert large.seen == {torch.bfloat16}
        assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}

    def test_are_always_the_same_and_leave_the_generator_alone(self, bare: str) -> None:
        torch.manual_seed(3)
        one = load_model(bare, "cpu", "float32", "dummy").network.state_dict()
        drawn = torch.rand(1)
        other = load_model(bare, "cpu", "float32", "dummy").network.state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.rand(1))

    def test_a_model_without_tokenizer_reads_bytes_and_never_ends(self, bare: str) -> None:
        model = load_model(bare, "cpu", "float32", "dummy")
        assert model.tokenizer == ByteTokenizer(300)
        assert not model.end_ids
        ids = [5, 299, 100, 31]
        assert len(model.encode(model.decode(ids))) == len(ids)

    def test_a_tokenizer_is_used_where_there_is_one(self) -> None:
        dummy = load_model("embedded", "cpu", "float32", "dummy")
        real = load_model("embedded", "cpu", "float32")
        assert dummy.encode("the mill") == real.encode("the mill")
        assert dummy.vocabulary == real.vocabulary
        assert not torch.equal(
            dummy.network.lm_head.weight.detach(), real.network.lm_head.weight.detach()
        )

    def test_a_cached_config_of_the_hub_is_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[object] = []
        monkeypatch.setattr(
            "huggingface_hub.file_download.get_hf_file_metadata",
            lambda *words, **_: asked.append(words),
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        commit = "a" * 40
        folder = tmp_path / "models--acme--tiny" / "snapshots" / commit
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder.parents[1] / "refs").mkdir()
        (folder.parents[1] / "refs" / "main").write_text(commit)
        model = load_model("acme/tiny", "cpu", "float32", "dummy")
        assert model.tokenizer == ByteTokenizer(300)
        assert not asked

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{nope", "not a valid JSON file"),
            (json.dumps({"model_type": "vit"}), "Unrecognized configuration class"),
            (json.dumps(CONFIG | {"num_attention_heads": 5}), "not a multiple of the number of"),
        ],
    )
    def test_a_config_of_which_no_model_can_be_made(
        self, bare: str, content: str, said: str
    ) -> None:
        (Path(bare) / "config.json").write_text(content)
        with pytest.raises(ModelError, match=said) as told:
            load_model(bare, "cpu", "float32", "dummy")
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize("kept", [0, 4, 1000, -1])
    def test_a_truncated_file_of_weights_is_told(self, tmp_path: Path, kept: int) -> None:
        shutil.copytree(MODEL_FOLDERS["embedded"], tmp_path / "cut")
        (weights,) = (tmp_path / "cut").glob("*.safetensors")
        weights.write_bytes(weights.read_bytes()[:kept])
        with pytest.raises(ModelError, match=r"cut' cannot be loaded: .") as told:
            load_model(str(tmp_path / "cut"), "cpu", "float32")
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize(
        "fault", [ImportError("pip install it\nor not"), KeyError("heads"), ZeroDivisionError("0")]
    )
    def test_whatever_the_files_make_libraries_raise_is_told(
        self, bare: str, monkeypatch: pytest.MonkeyPatch, fault: Exception
    ) -> None:
        """Also where only the tokenizer is wanted."""

        def fail(*_: object, **__: object) -> None:
            raise fault

        monkeypatch.setattr("executor.inprocess.models.AutoTokenizer.from_pretrained", fail)
        word = str(fault.args[0]).split("\n")[0]
        with pytest.raises(ModelError, match=f"^model .* cannot be loaded: .*{word}'?$"):
            load_model(bare, "cpu", "float32")
        with pytest.raises(ModelError, match=f"^tokenizer .* cannot be loaded: .*{word}'?$"):
            load_tokenizer(bare)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {"type": "BPE"}}', "{"])
    def test_a_tokenizer_that_is_none_is_told(self, tmp_path: Path, text: str) -> None:
        shutil.copytree(MODEL_FOLDERS["embedded"], tmp_path / "broken")
        (tmp_path / "broken" / "tokenizer.json").write_text(text)
        with pytest.raises(ModelError, match=r"^tokenizer .* cannot be loaded: ."):
            load_tokenizer(str(tmp_path / "broken"))

    def test_real_weights_must_be_there(self, bare: str) -> None:
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_model(bare, "cpu", "float32")


def scenario(folder: str, **options: object) -> Scenario:
    engine = {"model": folder, "weights": "dummy", **options}
    agents = {name: {"engine": "one", "max_tokens": 9} for name in "abz"}
    pipeline = {"moa": {"layers": [["a", "b"]], "answer": "z"}, "agents": agents}
    return Scenario.model_validate(
        {"name": "bare", "pipeline": pipeline, "engines": {"one": engine}}
    )


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, TransformersEngine),
        ({"slots": 3}, BatchingEngine),
        ({"slots": 3, "dtype": "bfloat16", "max_num_batched_tokens": 16}, BatchingEngine),
        ({"slots": 2, "dtype": "float16"}, BatchingEngine),
    ],
)
def test_a_bare_config_plays_a_pipeline(bare: str, options: dict[str, object], kind: type) -> None:
    """Every agent writes as many tokens as it may."""
    spec = scenario(bare, **options)
    pipeline = spec.pipeline.build()
    with open_engines(spec) as opened:
        assert isinstance(opened.engines["one"], kind)
        job = Job(pipeline, uniform(pipeline, constant(3, 3, 3)), Question("why"))
        outcome, plain = opened.runtime.run([job, Job(pipeline, Schedule(), Question("why"))])
    for line in (outcome.timeline, plain.timeline):
        assert line.error is None
        assert line.written == {"a": 9, "b": 9, "z": 9}


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_told(bare: str, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ModelError, match=f"device '{device}'"):
        load_model(bare, device, "float32", "dummy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 0}, "greater than or equal to 1"),
        ({"max_num_batched_tokens": 64}, "needs more than one of slots"),
        ({"slots": 8, "max_num_batched_tokens": 4}, "must not be below slots, 8"),
        ({"weights": "random"}, "'file' or 'dummy'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EngineSpec.model_validate({"model": "embedded", **options})
