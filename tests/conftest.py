"""Settings for all tests, and the real servers that they share."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.postgres import empty_database, find_commands, postgres
from tests.support.real_servers import RealServers

# These machines are shared: how long an example takes says nothing.
settings.register_profile("staircase", deadline=None)
settings.load_profile("staircase")

# pytest-xdist tells its workers how wide the terminal is; tables that are tested go into pipes.
os.environ.pop("COLUMNS", None)

# Its tests need everything that is compiled; what others need it for is in their imports.
COMPILING = "test_tables.py"
COMPILED = re.compile("simulator|planner|command_line")

# A job that a shell begins in the background ignores Ctrl-C, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of vLLM are there for who has one, or asks for them by ``-m``.

    The simulator is compiled by one of several processes, while the others test what needs none.
    """
    items.sort(key=lambda item: _turn(item.path))
    if os.environ.get("STAIRCASE_VLLM") or "vllm" in config.option.markexpr:
        return
    heavy = [item for item in items if item.get_closest_marker("vllm")]
    if heavy:
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]


@cache
def _turn(path: Path) -> int:
    """When a file's tests have their turn."""
    if path.name == COMPILING:
        return 0
    return 2 if COMPILED.search(path.read_text()) else 1


@pytest.fixture(scope="session")
def real_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServers]:
    with ExitStack() as stack:
        yield RealServers(stack, lambda: tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    commands = find_commands()
    if commands is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    with postgres(commands) as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """The address of a database that no other test sees."""
    return empty_database(postgres_url)


@pytest.fixture(scope="session")
def letter_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Not above: it loads torch.
    from tests.support.letter_model import save_letter_model

    folder = tmp_path_factory.mktemp("letters")
    save_letter_model(folder)
    return folder
