"""How a model was served: what tables of one device's kernels do not say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from profiles.hardware.collectives import ring_all_reduce_s
from profiles.hardware.model_shape import BYTES, ModelShape
from staircase.errors import ProfileError


@dataclass(frozen=True)
class Link:
    """Between two devices: bytes a second in one direction, and what any message takes besides."""

    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True)
class Deployment:
    """A model on its devices, as vLLM places it.

    Attributes:
        shape: None where only the number of layers is known.
        tensor_parallel: None for what the folder of the tables is named after.
        data_parallel: ranks with sequences of their own, which read the experts together.
        is_expert_parallel: whole experts on each device, instead of a slice of each.
        link: None where it is not known.
    """

    layers: int
    shape: ModelShape | None = None
    tensor_parallel: int | None = None
    data_parallel: int = 1
    is_expert_parallel: bool = False
    link: Link | None = None

    @classmethod
    def of(cls, shape: ModelShape, link: Link | None = None) -> Deployment:
        return cls(shape.layers, shape, link=link)

    @property
    def experts(self) -> int:
        return 1 if self.shape is None else self.shape.experts

    @property
    def devices(self) -> int:
        return (self.tensor_parallel or 1) * self.data_parallel

    def on(self, tensor_parallel: int) -> Deployment:
        """The same with its tensor parallelism.

        Raises:
            ProfileError: it is not modelled, or what it needs is not given; names that.
        """
        placed = replace(self, tensor_parallel=tensor_parallel)
        placed._check()
        return placed

    def _check(self) -> None:
        if self.data_parallel > 1 and self.experts == 1:
            raise ProfileError("data_parallel needs a model with experts; give replicas instead")
        if self.data_parallel > 1 and self.tensor_parallel != 1:
            raise ProfileError("data_parallel beside tensor parallelism is not modelled")
        if self.data_parallel > 1 and not self.is_expert_parallel:
            raise ProfileError(
                "data_parallel without expert_parallel is not modelled: slices of experts were not "
                "measured"
            )
        if self.is_expert_parallel and (self.devices == 1 or self.experts == 1):
            raise ProfileError("expert_parallel needs several devices and a model with experts")
        if self.devices > 1 and (self.shape is None or self.link is None):
            raise ProfileError(
                f"what {self.devices} devices tell each other is in no kernel; give model, "
                "link_gb_per_s and link_latency_s"
            )

    def collectives_s(self, tokens: float) -> float:
        """Of an iteration in which each rank has ``tokens``.

        In tensor parallel two all-reduces a layer. Of data-parallel ranks an all-gather of their
        hidden states before a layer's experts and a reduce-scatter behind them, which together are
        an all-reduce.
        """
        if self.devices == 1:
            return 0.0
        assert self.shape is not None
        assert self.link is not None
        count = self.layers * (1 if self.data_parallel > 1 else 2)
        message = tokens * self.data_parallel * self.shape.hidden * BYTES
        link = self.link
        return count * ring_all_reduce_s(self.devices, message, link.bytes_per_s, link.latency_s)
