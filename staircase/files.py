"""Files that are never half-written, and their one-line errors."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from errno import EISDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from staircase.errors import InputError

if TYPE_CHECKING:
    # Pipelines run on machines that have no pydantic.
    from pydantic import ValidationError


def named_path(name: str, folder: Path = Path()) -> Path:
    """What a user names by ``name``, seen from ``folder``; ``~`` is a home, where there is one."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:
        return folder / name


def check_writable(path: Path) -> None:
    """Before the work whose result shall lie there.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        if not is_no_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None


def write_text(path: Path, text: str) -> None:
    """As ``write_pieces`` of one."""
    write_pieces(path, (text,))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Writes a text beside ``path`` and renames it, so a reader sees all of it or nothing.

    A device or a pipe, as /dev/stdout, is written to as it is.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        _write_pieces(path, pieces)
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: cannot be written (its text is not UTF-8: {error})") from None
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None


def is_no_file(path: Path) -> bool:
    """Whether it is a device or a pipe, as /dev/stdout is."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _unwritable(path: Path, error: OSError | ValueError) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path}: cannot be written ({reason}); name a file in a folder that can be")


def _write_pieces(path: Path, pieces: Iterable[str]) -> None:
    if is_no_file(path):
        # A rename would put a file in its place.
        with path.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_text(path: Path, kind: type[InputError], what: str) -> str:
    """The text of ``path``, or one clear line that says ``what`` should be there."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise kind(f"{path}: no such file; it should be {what}") from None
    except (OSError, ValueError) as error:
        is_text = not isinstance(error, UnicodeDecodeError)
        reason = (getattr(error, "strerror", None) or error) if is_text else "it is not UTF-8 text"
        raise kind(f"{path}: cannot be read ({reason}); it should be {what}") from None


def without_nan(content: Any) -> Any:
    """``content`` with None for NaN, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def parse_json(text: str, kind: type[InputError], place: str, wanted: str = "") -> Any:
    """The value that ``text`` is; what JSON and UTF-8 do not have, or too deep nesting, is told."""
    try:
        value = json.loads(text)
        if "\\u" in text:
            # Half of a pair, which no file can hold.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise kind(f"{place}: a lone surrogate (\\ud800 to \\udfff) in a text{wanted}") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        raise kind(f"{place}: not JSON ({reason}){wanted}") from None


def read_json_lines(path: Path, kind: type[InputError], what: str) -> Iterator[tuple[str, Any]]:
    """As ``json_lines`` of the text of ``path``."""
    yield from json_lines(read_text(path, kind, what), kind, path)


def json_lines(text: str, kind: type[InputError], path: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of each line of ``path`` that is not empty; one that is no JSON is told."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, parse_json(line, kind, place)


def read_csv(
    path: Path, columns: Sequence[str], kind: type[InputError], what: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and cells of each row below the header, of these columns; absent cells are ''."""
    # Spreadsheets begin a file with a mark that is no part of the first column's name.
    lines = read_text(path, kind, what).removeprefix("\ufeff").split("\n")
    reader = csv.DictReader(lines, skipinitialspace=True)
    try:
        header = reader.fieldnames or ()
        for column in columns:
            if column not in header:
                raise kind(f"{path}, line 1: no column {column!r}; it should be {what}")
        for row in reader:
            yield (
                f"{path}, line {reader.line_num}",
                {column: row[column] or "" for column in columns},
            )
    except csv.Error as error:
        raise kind(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def first_error(error: ValidationError) -> str:
    """The first of pydantic's errors as ``key: what is wrong``."""
    problem: dict[str, Any] = dict(error.errors()[0])
    key = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
