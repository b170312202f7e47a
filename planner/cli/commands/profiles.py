"""Profiles: measured, imported, and looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.commands import measuring
from planner.cli.default_command import DefaultGroup
from planner.cli.terminal import AsJson, finite, print_json, screen
from staircase.bounds import (
    LEAST_RATE,
    LONGEST_RUN_S,
    MOST,
    MOST_DEVICES,
    MOST_LAYERS,
    MOST_RATE,
)
from staircase.errors import ProfileError

if TYPE_CHECKING:
    from planner.profiling.profile_words import Entry
    from profiles.catalog import AnyProfile
    from profiles.latency.profile import EngineProfile, LatencyProfile

app = typer.Typer(
    cls=DefaultGroup,
    help="Measure what engines cost: 'staircase profile SCENARIO'. Or import what others measured, "
    "and look at profiles.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("measure")(measuring.profile)

ProfileName = Annotated[
    str,
    typer.Argument(
        help="A file (*.json) or a name that 'list' shows; NAME:ENGINE for one of its engines.",
        show_default=False,
    ),
]


OverheadS = Annotated[
    float | None,
    typer.Option(
        min=0, max=LONGEST_RUN_S, callback=finite, help="Of an engine's host, for each iteration."
    ),
]
LinkGBPerS = Annotated[
    float | None,
    typer.Option(
        min=LEAST_RATE,
        max=MOST_RATE,
        callback=finite,
        help="Between devices in tensor parallel, in one direction.",
    ),
]
LinkLatencyS = Annotated[
    float | None,
    typer.Option(min=0, max=LONGEST_RUN_S, callback=finite, help="Of each message between them."),
]


@app.command("import")
def import_file(
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="splitwise, aiconfigurator, llmservingsim, vidur, vllm, aiperf or guidellm.",
            show_default=False,
        ),
    ],
    path: Annotated[Path, typer.Argument(help="File or folder.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Profile [default: FORMAT.json].")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model; or that of kernels.")] = None,
    hardware: Annotated[str | None, typer.Option(help="Only this hardware.")] = None,
    tp: Annotated[
        int | None, typer.Option(min=1, max=MOST_DEVICES, help="Only this tensor parallelism.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, max=MOST_LAYERS, help="Layers of the model.")
    ] = None,
    overhead_s: OverheadS = None,
    link_gb_per_s: LinkGBPerS = None,
    link_latency_s: LinkLatencyS = None,
    run: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Which of several benchmarks.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a profile from what others measured."""
    from planner.profiling.profile_words import list_table
    from profiles.importers.importing import Picks, import_profile
    from profiles.latency.endpoint import EndpointProfile, save_endpoint
    from profiles.latency.profile import save_latency

    picks = Picks(model, hardware, tp, layers, overhead_s, link_gb_per_s, link_latency_s, run)
    profile = import_profile(form, path, picks)
    target = out or Path(f"{form}.json")
    if isinstance(profile, EndpointProfile):
        digest = save_endpoint(target, profile)
    else:
        digest = save_latency(target, profile)
    if as_json:
        print_json({"profile": str(target), "hash": digest})
        return
    if isinstance(profile, EndpointProfile) or len(profile.engines) == 1:
        _show(profile, target.stem)
    else:
        screen.print(list_table(list(_entries(target.stem, profile))))
    screen.print(f"written: {target}")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """The catalogue: profiles that come with Staircase."""
    from planner.profiling.profile_words import list_table
    from profiles.catalog import FOLDER, names
    from profiles.latency.profile import load_latency

    files = ((name, load_latency(FOLDER / f"{name}.json")) for name in names())
    entries = [entry for name, profile in files for entry in _entries(name, profile)]
    if as_json:
        print_json([_described(entry) for entry in entries])
    else:
        screen.print(list_table(entries))


@app.command()
def show(name: ProfileName, as_json: AsJson = False) -> None:
    """What a profile says: coefficients, errors, range, where it is from, some forecasts."""
    from profiles.latency.endpoint import EndpointProfile
    from profiles.store import stored_hash

    path, profile = _load(name)
    if as_json:
        content = (
            asdict(profile)
            if isinstance(profile, EndpointProfile)
            else [_described(entry) for entry in _entries(name, profile)]
        )
        print_json({"hash": stored_hash(path), "profile": content})
    else:
        _show(profile, name)


@app.command()
def compare(first: ProfileName, second: ProfileName, as_json: AsJson = False) -> None:
    """How long one engine takes beside another, over the range that both were measured in."""
    from planner.figures.number_format import number
    from planner.profiling.profile_words import compare_engines, geometric_mean, ratio_table

    ratios = compare_engines(_engine(first), _engine(second))
    if as_json:
        print_json({one.what: one.ratio for one in ratios})
        return
    screen.print(ratio_table(ratios, first, second))
    screen.print(f"geometric mean: {number(geometric_mean(ratios))}", highlight=False)


@app.command()
def plot(
    names: Annotated[list[str], typer.Argument(help="As for 'show'.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Page to write (*.html).")] = Path("profiles.html"),
    as_json: AsJson = False,
) -> None:
    """Draw prefill and decode of engines into one self-contained page."""
    from planner.profiling.profile_plot import write_plot

    write_plot(out, {name: _engine(name) for name in names})
    if as_json:
        print_json({"page": str(out), "profiles": names})
    else:
        screen.print(f"written: {out}")


def _load(name: str) -> tuple[Path, AnyProfile]:
    """The file of NAME or NAME:ENGINE, and the profile in it, with that engine only."""
    from profiles.catalog import find, load
    from profiles.latency.endpoint import EndpointProfile

    file, _, engine = name.partition(":")
    path = find(file)
    profile = load(path)
    if engine and isinstance(profile, EndpointProfile):
        raise ProfileError(f"{path}: is of an endpoint, which has no engine {engine!r}")
    if engine and not isinstance(profile, EndpointProfile):
        profile = replace(profile, engines={engine: profile[engine]})
    return path, profile


def _engine(name: str) -> EngineProfile:
    from profiles.catalog import find, load_engine

    file, _, engine = name.partition(":")
    return load_engine(find(file), engine or None)


def _entries(name: str, profile: LatencyProfile) -> Iterator[Entry]:
    from planner.profiling.profile_words import Entry

    file, is_alone = name.partition(":")[0], len(profile.engines) == 1
    for engine, fitted in profile.engines.items():
        yield Entry(file, engine, is_alone, fitted, profile.provenance)


def _described(entry: Entry) -> dict[str, Any]:
    engine = entry.engine.without_points()
    said = {"name": entry.name, "hardware": entry.hardware, "source": entry.source}
    return {**said, "engine": entry.model, "profile": asdict(engine)}


def _show(profile: AnyProfile, name: str) -> None:
    from planner.profiling.profile_warnings import latency_notes
    from planner.profiling.profile_words import (
        endpoint_lines,
        engine_lines,
        forecast_table,
        provenance_lines,
    )
    from profiles.latency.endpoint import EndpointProfile

    if isinstance(profile, EndpointProfile):
        _print_lines(name, endpoint_lines(profile))
    else:
        for entry in _entries(name, profile):
            warnings = latency_notes({entry.model: entry.engine})
            _print_lines(f"{name}: {entry.model}", [*engine_lines(entry.engine), *warnings])
            screen.print(forecast_table(entry.engine))
    _print_lines("where it is from", provenance_lines(profile.provenance))


def _print_lines(title: str, lines: Iterable[str]) -> None:
    screen.print(title, style="bold", highlight=False)
    for line in lines:
        screen.print(f"  {line}", highlight=False, markup=False)
