"""A request while it is played: the growing answer, and the other agents' progress beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from executor.opened_engines import OpenedEngines
from executor.runtime import Job, Outcome, ServedModel
from executor.tokens.streaming_text import StreamingText
from staircase.pipeline import Pipeline


class LiveView:
    """Shows one request on a terminal, where what is taken back vanishes; elsewhere only the answer
    is written: as it comes, or if some of it may be taken back (``may_fall``), when it is there.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        served: Mapping[str, ServedModel],
        screen: Console,
        may_fall: bool = False,
    ) -> None:
        self._answer = pipeline.answer
        self._screen = screen
        self._may_fall = may_fall
        self._ids: dict[str, Sequence[int]] = {agent.name: () for agent in pipeline}
        self._texts = {agent.name: GrowingText(served[agent.engine]) for agent in pipeline}

    @contextmanager
    def shown(self) -> Iterator[None]:
        if not self._screen.is_terminal:
            try:
                yield
            finally:
                if self._may_fall:
                    self._write_answer()
                self._screen.file.write("\n")
            return
        with Live(get_renderable=self._render, console=self._screen, refresh_per_second=12):
            yield

    def on_token(self, job: int, agent: str, ids: Sequence[int]) -> None:
        """In the engine's thread."""
        self._ids[agent] = ids
        if agent == self._answer and not self._screen.is_terminal and not self._may_fall:
            self._write_answer()

    def _write_answer(self) -> None:
        """What is new of it."""
        self._screen.file.write(self._texts[self._answer].update(self._ids[self._answer]))
        self._screen.file.flush()

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for agent, ids in self._ids.items():
            if agent != self._answer:
                table.add_row(agent, f"{len(ids)} tokens", Text(self._tail(agent), style="dim"))
        return Group(table, Text(self._text(self._answer)))

    def _text(self, agent: str) -> str:
        self._texts[agent].update(self._ids[agent])
        return self._texts[agent].text

    def _tail(self, agent: str) -> str:
        """The end of what an agent has written, on one line."""
        return " ".join(self._text(agent).split())[-60:]


class GrowingText:
    """A text of which some may be taken back."""

    def __init__(self, model: ServedModel) -> None:
        self._decode = model.engine.decode
        self._begin()

    def _begin(self) -> None:
        self._ids = list[int]()
        self._shown = StreamingText(self._decode)

    @property
    def text(self) -> str:
        return self._shown.text

    def update(self, ids: Sequence[int]) -> str:
        """What ``ids``, all of its tokens, add; all of it where some were taken back."""
        now = list(ids)
        if now[: len(self._ids)] != self._ids:
            self._begin()
        self._ids = now
        return self._shown.update(now)


def play_shown(opened: OpenedEngines, job: Job, screen: Console, may_fall: bool = False) -> Outcome:
    """Plays one request and shows it meanwhile."""
    shows_at_once = job.schedule.checks and job.schedule.show == "at_once"
    may_fall = may_fall or shows_at_once or bool(job.question.updates)
    view = LiveView(job.pipeline, opened.runtime.served, screen, may_fall)
    with view.shown():
        return opened.runtime.run([job], on_token=view.on_token)[0]
