"""What a profile is of, so that the profile of something else is told instead of used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

# In words, a setting of which nothing is known.
UNSAID = "unknown"


@dataclass(frozen=True)
class EngineSubject:
    """A model and how it is served.

    Attributes:
        kind: of the engine, as in a scenario.
        model: its folder or name there.
        content: hash of the model's files; None where they are not on this machine.
        settings: what else the profile depends on, by key of the scenario.
    """

    kind: str
    model: str
    content: str | None = None
    settings: dict[str, str | int] = field(default_factory=dict)

    def unlike(self, other: EngineSubject) -> str | None:
        """How ``other`` differs, in words.

        A model in this process and one behind a server have names of their own, so they are not
        compared. Folders may lie elsewhere on another machine: their last part counts.
        """
        if self.kind != other.kind:
            return None
        if _last(self.model) != _last(other.model):
            return f"of model {self.model!r}, here it is {other.model!r}"
        if self.content and other.content and self.content != other.content:
            return f"of model {self.model!r} with other files than there are now"
        for key in dict.fromkeys((*self.settings, *other.settings)):
            found, here = (one.settings.get(key, UNSAID) for one in (self, other))
            if found != here:
                return f"with {key}: {found}, here it is {here}"
        return None


@dataclass(frozen=True)
class PipelineSubject:
    """Agents, whom each of them reads, and their models.

    Attributes:
        answer: None where it is not known.
        reads: by agent.
        models: by agent; those that are not known are left out.
    """

    answer: str | None
    reads: dict[str, tuple[str, ...]]
    models: dict[str, EngineSubject] = field(default_factory=dict)

    def unlike(self, other: PipelineSubject) -> str | None:
        """How ``other`` differs, in words; None if it does not."""
        return next(self._differences(other), None)

    def _differences(self, other: PipelineSubject) -> Iterator[str]:
        if self.reads.keys() != other.reads.keys():
            yield f"of agents {_listed(self.reads)}, here they are {_listed(other.reads)}"
            return
        for name, sources in self.reads.items():
            if sources != other.reads[name]:
                here = _listed(other.reads[name])
                yield f"of a pipeline whose {name!r} reads {_listed(sources)}, here it reads {here}"
        if self.answer is not None and self.answer != other.answer:
            yield f"of a pipeline that {self.answer!r} answers, here {other.answer!r} does"
        yield from differences(self.models, other.models)


def differences(
    found: Mapping[str, EngineSubject], wanted: Mapping[str, EngineSubject]
) -> Iterator[str]:
    """How engines of ``found`` differ from those with the same name in ``wanted``, in words."""
    for name, subject in found.items():
        words = subject.unlike(wanted.get(name, subject))
        if words:
            yield f"for {name!r} {words}"


def _last(model: str) -> str:
    return PurePosixPath(model.rstrip("/")).name


def _listed(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(names) or "nobody"
