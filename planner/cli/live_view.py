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
    """Shows one request on a terminal; elsewhere only the answer is written, as it comes."""

    def __init__(
        self, pipeline: Pipeline, served: Mapping[str, ServedModel], screen: Console
    ) -> None:
        self._answer = pipeline.answer
        self._screen = screen
        self._ids: dict[str, Sequence[int]] = {agent.name: () for agent in pipeline}
        self._texts = {
            agent.name: StreamingText(served[agent.engine].engine.decode) for agent in pipeline
        }

    @contextmanager
    def shown(self) -> Iterator[None]:
        if not self._screen.is_terminal:
            try:
                yield
            finally:
                self._screen.file.write("\n")
            return
        with Live(get_renderable=self._render, console=self._screen, refresh_per_second=12):
            yield

    def on_token(self, job: int, agent: str, ids: Sequence[int]) -> None:
        """In the engine's thread."""
        self._ids[agent] = ids
        if agent == self._answer and not self._screen.is_terminal:
            self._screen.file.write(self._texts[agent].update(ids))
            self._screen.file.flush()

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for agent, ids in self._ids.items():
            if agent != self._answer:
                table.add_row(agent, f"{len(ids)} tokens", Text(self._tail(agent), style="dim"))
        self._texts[self._answer].update(list(self._ids[self._answer]))
        return Group(table, Text(self._texts[self._answer].text))

    def _tail(self, agent: str) -> str:
        """The end of what an agent has written, on one line."""
        self._texts[agent].update(list(self._ids[agent]))
        return " ".join(self._texts[agent].text.split())[-60:]


def play_shown(opened: OpenedEngines, job: Job, screen: Console) -> Outcome:
    """Plays one request and shows it meanwhile."""
    view = LiveView(job.pipeline, opened.runtime.served, screen)
    with view.shown():
        return opened.runtime.run([job], on_token=view.on_token)[0]
