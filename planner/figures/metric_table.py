"""Every figure of forecasts and measurements: what users call it, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from staircase.metrics.directions import GAINS


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: in forecasts and measurements.
        label: in texts and pictures.
        word: in objectives and limits; empty where it can be none.
        row: in the table of all figures; empty: its label.
        column: at the head of a table of schedules; empty: its label.
        is_time: it is in seconds, and shown in milliseconds.
        absent: what it is of a schedule that does not have it, if that is known.
        is_each: every request has its own, so a limit is on a percentile.
    """

    name: str
    label: str
    word: str = ""
    row: str = ""
    column: str = ""
    is_time: bool = False
    absent: float | None = None
    is_each: bool = False

    @property
    def is_gain(self) -> bool:
        """Whether more is better."""
        return self.name in GAINS

    @property
    def factor(self) -> float:
        """From its unit to the one that is shown."""
        return 1000 if self.is_time else 1

    @property
    def unit(self) -> str:
        """As it stands behind a figure or a label."""
        return " ms" if self.is_time else ""

    @property
    def row_head(self) -> str:
        return f"{self.row or self.label}{self.unit}"

    @property
    def column_head(self) -> str:
        return f"{self.column or self.label}{self.unit}"


def _time(name: str, label: str, word: str = "", column: str = "", is_each: bool = True) -> Metric:
    return Metric(name, label, word, column=column, is_time=True, is_each=is_each)


_ALL = (
    _time("ttft_s", "TTFT", "ttft", "first token"),
    _time("first_output_s", "first output"),
    _time("smooth_start_s", "smooth start", "smooth_start"),
    _time("e2e_s", "E2E", "e2e", "last token"),
    _time("tpot_s", "TPOT", "tpot"),
    _time("itl_s", "ITL", "itl"),
    _time("stall_s", "stall", "stall"),
    _time("input_s", "end of input"),
    _time("start_after_input_s", "smooth start after input", "start_after_input"),
    _time("last_after_input_s", "last token after input", "last_after_input"),
    Metric("retracted_tokens", "retracted", "retracted", row="retracted tokens", absent=0.0),
    Metric("kept", "kept", row="share kept of what was checked"),
    _time("longest_gap_s", "longest gap", "longest_gap"),
    _time("queued_s", "queued"),
    _time("busy_s", "device"),
    _time("device_s", "device", "device", is_each=False),
    _time("reserved_s", "reserved", "reserved", is_each=False),
    Metric("cost", "cost", "cost"),
    Metric("goodput_per_s", "goodput", "goodput"),
    Metric("capacity_per_s", "capacity", "capacity"),
    Metric("answer_tokens", "answer tokens"),
    Metric("thinking_tokens", "thinking tokens"),
    Metric("prefilled_tokens", "prefill", "prefill", row="prefilled tokens"),
    Metric("cached_tokens", "cached", row="cached tokens"),
    Metric("tokens_per_pass", "tokens a pass"),
    Metric("samples", "samples", "samples", row="samples begun"),
    Metric("vote_right", "votes right", "vote_right", row="share of votes that were right"),
    Metric("unread", "unread", "unread", row="unread share"),
    Metric("loss", "loss", "loss", row="loss, nats a token"),
    Metric("agreement", "quality", "quality"),
    # Of texts: see ``staircase.metrics.text_faults``.
    Metric("leaks", "answers that repeat texts of the prompt", column="leaks"),
    Metric("seams", "answers that show a seam", column="seams"),
    Metric("repetition", "repeated runs of four words", column="repetition"),
    Metric("strange", "letters in another script", column="other script"),
    # Under another model: see ``executor.scoring.likelihood``.
    Metric("log_likelihood", "log-likelihood, nats a token", column="log-likelihood"),
    Metric("beyond_normal", "log-likelihood beyond normal's", column="beyond normal"),
    Metric("score", "score", "score", row="task score"),
)
METRICS = {one.name: one for one in _ALL}
# Those that can be objectives and limits, by the users' word.
BY_WORD = {one.word: one for one in _ALL if one.word}
