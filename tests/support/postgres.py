"""A PostgreSQL server for one test run, in a folder of its own; it listens on a socket only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import LiteralString

# Debian's packages do not put the server's commands on the path.
DEBIAN = Path("/usr/lib/postgresql")


def find_commands() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``; of several versions the newest."""
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name))
    found = shutil.which("initdb")
    folders = [*reversed(versions), *([Path(found).parent] if found else [])]
    return next((folder for folder in folders if (folder / "pg_ctl").is_file()), None)


@contextmanager
def postgres(commands: Path) -> Iterator[str]:
    """The address of an empty database."""
    # Sockets want short paths.
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        data = Path(name) / "data"
        data.mkdir(mode=0o700)
        if _as_user():
            Path(name).chmod(0o755)
            shutil.chown(data, "postgres", "postgres")
        _call(commands / "initdb", "-D", data, "-U", "staircase", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
        log = data / "log"
        _call(commands / "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            yield f"postgresql://staircase@/postgres?host={data}"
        finally:
            _call(commands / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def empty_database(url: str) -> str:
    """The address of a new database on the same server."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    return url.replace("/postgres?", f"/{name}?")


def count_rows(url: str, of: LiteralString) -> int:
    """Rows ``of`` a table, 0 without it; Optuna would take half a second to look."""
    import psycopg

    with psycopg.connect(url) as connection, suppress(psycopg.errors.UndefinedTable):
        return int(connection.execute(f"select count(*) from {of}").fetchall()[0][0])
    return 0


def _as_user() -> list[str]:
    """PostgreSQL does not run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] * (os.getuid() == 0)


def _call(*command: str | Path) -> None:
    done = subprocess.run(
        [*_as_user(), *map(str, command)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
