"""The store on disk: SQLite, shared by all processes of a machine.

A key is the hash of identity and signature, a document is the JSON of its entry. Of two entries of one key the later
one stays, so that merging is idempotent and its order does not matter.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from pydantic import ValidationError

from toolchain.errors import DataError, EnvironmentMissing, PrunecError, UsageError
from toolchain.measure.cache import cache_folder
from toolchain.measure.lock import device_lock
from toolchain.measure.machine_load import waiting_share
from toolchain.store.entry import Entry, key_of
from toolchain.store.network_entry import NetworkEntry, Stored, network_key, read_stored
from toolchain.store.signature import OpSignature
from toolchain.targets.engine import Identity

BUSY_SECONDS = 30.0
"""How long a write waits for those of other processes."""

_MIGRATIONS = ("CREATE TABLE entry (key TEXT PRIMARY KEY, created_at TEXT NOT NULL, document TEXT NOT NULL)",)
"""Statement i takes a database from schema i to i + 1; an empty file has schema 0."""

_SCHEMA = len(_MIGRATIONS)

_KEEP_THE_LATER = """
    INSERT INTO entry VALUES (:key, :created_at, :document)
    ON CONFLICT DO UPDATE SET created_at = excluded.created_at, document = excluded.document
    WHERE (excluded.created_at, excluded.document) > (created_at, document)
"""


def default_path() -> Path:
    """Return where this user's store lies."""
    return cache_folder() / "latency.sqlite"


class LatencyStore:
    """Latencies by identity and signature, to be used as a context manager.

    A file that is damaged is moved aside, `warn` is told, and an empty store takes its place. `waiting_now` says how
    busy the machine is: a latency that was timed when it was busier is to be timed again.

    Raises EnvironmentMissing for a store of a newer version, UsageError where it cannot be opened or written.
    """

    def __init__(
        self, path: Path, warn: Callable[[str], None], waiting_now: Callable[[], float | None] = waiting_share
    ) -> None:
        self.path = path
        self._waiting_now = waiting_now
        with _reporting(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with device_lock(str(path), lambda _: None, path.parent / "locks"):
                if path.exists() and _is_damaged(path):
                    warn(f"the latency store {path} is damaged; a new one is begun, the old one is {_set_aside(path)}")
                self._connection = _open(path)

    def __enter__(self) -> LatencyStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, identity: Identity, signature: OpSignature) -> Entry | None:
        """Return what is known of `signature` on `identity`; None where that is nothing, or is to be timed again.

        What is to be timed again stays in the store until then.
        """
        found = self._believed(key_of(identity, signature))
        return found if isinstance(found, Entry) and found.answers(identity, signature) else None

    def network(self, identity: Identity, network: str) -> NetworkEntry | None:
        """Return the profile of `network` on `identity`; None as `get` does."""
        found = self._believed(network_key(identity, network))
        return found if isinstance(found, NetworkEntry) and found.answers(identity, network) else None

    def _believed(self, key: str) -> Stored | None:
        with _reporting(self.path):
            row = self._connection.execute("SELECT document FROM entry WHERE key = ?", [key]).fetchone()
        found = _read(row[0]) if row else None
        return None if found is None or found.is_outdone(self._waiting_now(), datetime.now(UTC)) else found

    def put(self, entry: Stored) -> None:
        """Add an entry."""
        self.merge([entry])

    def merge(self, entries: Iterable[Stored]) -> int:
        """Add entries, all or none; return how many were new or later than what was there."""
        rows = [{"key": entry.key, "created_at": entry.timestamp, "document": entry.to_json()} for entry in entries]
        with _reporting(self.path), _transaction(self._connection):
            before = self._connection.total_changes
            self._connection.executemany(_KEEP_THE_LATER, rows)
            return self._connection.total_changes - before

    def entries(self) -> list[Stored]:
        """Return all readable entries, oldest first."""
        with _reporting(self.path):
            return _entries(self._connection)


def read_store(path: Path) -> list[Stored]:
    """Return the readable entries of another store, which is not changed.

    Raises DataError where it is none or damaged, EnvironmentMissing where it is of a newer version.
    """
    try:
        with closing(_connect(path, "rw")) as connection:
            _schema(connection, path)
            return _entries(connection)
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read as a latency store: {error}") from None


def _entries(connection: sqlite3.Connection) -> list[Stored]:
    rows = connection.execute("SELECT document FROM entry ORDER BY created_at, key")
    return [entry for (document,) in rows if (entry := _read(document))]


def _read(document: str) -> Stored | None:
    try:
        return read_stored(document)
    except ValidationError:
        return None


def _open(path: Path) -> sqlite3.Connection:
    """Connect and bring the schema up to date; the caller holds the lock."""
    connection = _connect(path, "rwc")
    try:
        schema = _schema(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if schema < _SCHEMA:
            _migrate(connection, schema)
    except (sqlite3.Error, PrunecError):
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, schema: int) -> None:
    with _transaction(connection):
        for statement in _MIGRATIONS[schema:]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_SCHEMA}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _schema(connection: sqlite3.Connection, path: Path) -> int:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if schema > _SCHEMA:
        what = f"the latency store {path} was written by a newer prunec (schema {schema}, this one knows {_SCHEMA})"
        raise EnvironmentMissing(what, hint="update prunec, or set PRUNEC_CACHE to another folder")
    return int(schema)


def _is_damaged(path: Path) -> bool:
    with closing(_connect(path, "rw")) as connection:
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
        except sqlite3.OperationalError:  # locked, not readable: not for its content
            raise
        except sqlite3.DatabaseError:
            return True


def _set_aside(path: Path) -> Path:
    """Rename a store and what belongs to it; return its new path."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for suffix in ("-wal", "-shm", ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise UsageError(
            f"the latency store {path} cannot be used: {error}", hint="set PRUNEC_CACHE to a folder that can be written"
        ) from None
