"""Where studies are kept: in a journal file on one host, in PostgreSQL for several.

Both are Optuna's own, and ``optuna-dashboard`` opens them. Whoever writes takes turns with other
processes by a lock that ends with its process, so that one that is killed stops nobody.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import (
    BaseStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)

from planner.search.journal import open_journal
from staircase.errors import PlanError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

# Of PostgreSQL's advisory locks the one that Staircase's processes take; any number would do.
ADVISORY = 251005059
CONNECT_S = 10


@dataclass(frozen=True)
class Storage:
    """An open storage.

    Attributes:
        where: for people, without a password.
        turn: only one process at a time is within it.
    """

    where: str
    optuna: BaseStorage
    turn: Callable[[], AbstractContextManager[Any]]


def open_storage(where: str, heartbeat_s: int | None = None) -> Storage:
    """``postgresql://USER:PASSWORD@HOST/DATABASE``, or the path of a journal file.

    Every ``heartbeat_s`` a worker of ``Study.optimize`` tells PostgreSQL that it lives; another one
    does the trial of a worker that died.

    Raises:
        PlanError: it is another kind of address, cannot be reached, or is no journal.
    """
    scheme, mark, _ = where.partition("://")
    if not mark:
        path = Path(where)
        if path.exists() and not path.is_file():
            raise PlanError(
                f"storage {where!r}: is no file; it must be the path of a journal, or an address "
                "as postgresql://USER@HOST/DATABASE"
            )
        journal, lock = open_journal(path)
        return Storage(where, journal, lambda: lock)
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        return _postgres(where, heartbeat_s)
    raise PlanError(
        f"storage {scheme}://…: must be postgresql://USER@HOST/DATABASE or the path of a journal"
    )


def _postgres(where: str, heartbeat_s: int | None) -> Storage:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        url = make_url(where).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise PlanError("storage postgresql://…: must be postgresql://USER@HOST/DATABASE") from None
    shown = url.render_as_string(hide_password=True)
    try:
        engine = create_engine(url, connect_args={"connect_timeout": CONNECT_S})
        # Two that make the tables at once get in each other's way.
        with _advisory(engine):
            return Storage(shown, _tables(url, heartbeat_s), lambda: _advisory(engine))
    except ImportError:
        raise PlanError('PostgreSQL needs psycopg: pip install "staircase[cluster]"') from None
    except SQLAlchemyError as error:
        raise PlanError(f"{shown}: {first_line(error)}") from None


def _tables(url: URL, heartbeat_s: int | None) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"connect_args": {"connect_timeout": CONNECT_S}},
            heartbeat_interval=heartbeat_s,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )


@contextmanager
def _advisory(engine: Engine) -> Iterator[None]:
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text(f"select pg_advisory_xact_lock({ADVISORY})"))
        yield


def first_line(error: Exception) -> str:
    """What a library says of ``error``, in one line."""
    said = str(getattr(error, "orig", None) or error.__cause__ or error)
    return next(iter(said.strip().splitlines()), type(error).__name__)
