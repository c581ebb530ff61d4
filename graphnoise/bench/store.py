"""A folder with one JSON file per cell: written atomically, verified on reading, claimed by one process at a time.

Claims are numbered files and not locks of `filelock`: native locks are local to a machine on many network file systems,
and its leases may overlap by their documentation, and refuse contenders with another duration. The start of a process
is read in ticks since boot: `psutil.Process.create_time()` moves when the system's clock is set, and a live owner would
be taken for a dead one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import json
import math
import os
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphnoise.checks import fail, real
from graphnoise.errors import DataError

# Version of the layout; file names carry it, so that versions never overwrite each other.
FORMAT = 1
_KEY = re.compile(r"[0-9a-f]{32}")
_RECORD = re.compile(r"([0-9a-f]{32})\.v([0-9]+)\.json")
_CLAIM = re.compile(r"([0-9a-f]{32})\.[0-9]+\.claim")
_SCRATCH = re.compile(r"\.[0-9a-f]{16}\.tmp")
# Seconds: a write takes milliseconds, so an older temporary file has no writer.
_SCRATCH_LIFE = 3600.0
# Times of a claim that was released: older than any lease.
_LAPSED = (0, 0)
# Seconds of a lease, and bytes of a claim: what exceeds them was not written here.
MAX_LEASE, MAX_CLAIM = 7 * 86400.0, 4096


def _plain(value: object, name: str, fold: bool) -> Any:
    """Return `value` in JSON's types; with `fold`, equal numbers become the same number (0.0 becomes 0)."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if value.bit_length() > 1024:
            fail(name, "an integer of at most 1024 bits", f"one of {value.bit_length()} bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            fail(name, "a finite number or None", value)
        return int(value) if fold and value.is_integer() else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                fail(name, "strings as keys", repr(key))
        return {key: _plain(item, f"{name}[{key!r}]", fold) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        fail(name, "None, a bool, a number, a string, a list or a mapping", type(value).__name__)
    return [_plain(item, f"{name}[{place}]", fold) for place, item in enumerate(value)]


def _json(value: object, name: str, fold: bool = False) -> str:
    if not isinstance(value, Mapping):
        fail(name, "a mapping", type(value).__name__)
    try:
        return json.dumps(_plain(value, name, fold), sort_keys=True, separators=(",", ":"))
    except RecursionError:
        fail(name, "a value of modest depth", "one that is nested too deeply or contains itself")


def cell_key(config: Mapping[str, Any], name: str = "config") -> str:
    """Return the key of a cell: the blake2b hash, in 32 hexadecimal digits, of the canonical JSON of its configuration.

    Canonical: sorted keys, floats by their shortest repr, tuples as lists, and equal numbers alike (`0` and `0.0`, but
    not `False`).

    Raises `InputError` for a value that JSON does not have, NaN and infinity among them; the message says where.

    Example:
        >>> cell_key({"rate": 0, "seed": 1}) == cell_key({"seed": 1, "rate": 0.0})
        True
    """
    return hashlib.blake2b(_json(config, name, fold=True).encode(), digest_size=16).hexdigest()


def _encode(key: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> bytes:
    """Return a record: a JSON object of which the first entry is the checksum of all bytes after it."""
    entries = f'"config":{_json(config, "config", fold=True)},\n"result":{_json(result, "result")}'
    body = f'"format":{FORMAT},\n"key":"{key}",\n{entries}}}\n'.encode()
    return _head(body) + body


def _head(body: bytes) -> bytes:
    checksum = hashlib.blake2b(body, digest_size=16).hexdigest()
    return f'{{"checksum":"{checksum}",\n'.encode()


def _decode(key: str, data: bytes) -> dict[str, Any] | None:
    """Return the record, or None unless every byte is as `_encode` wrote it for this key."""
    size = len(_head(b""))
    if data[:size] != _head(data[size:]):
        return None
    try:
        record = json.loads(data)
        ours = record["format"] == FORMAT and record["key"] == key
        return {name: record[name] for name in ("key", "config", "result")} if ours else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


@functools.cache
def _machine() -> str | None:
    """Return this boot of this machine and its namespace of process numbers; None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{os.uname().nodename} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since boot; None if it has ended (a zombie has)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _has_ended(owner: Mapping[str, Any]) -> bool:
    """Return whether the owner was a process of this machine that has ended; its number may be in use anew."""
    pid = owner.get("pid")
    if _machine() is None or owner.get("machine") != _machine() or not isinstance(pid, int) or not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # Another user's process, which /proc may hide: its lease decides.
        return False
    return _started(pid) != owner.get("started")


def _owner(text: bytes) -> dict[str, Any]:
    """Return the owner in a claim; nothing if its maker could not write it in one step, and died.

    What no version of this store wrote has a lease of 0: it counts as lapsed.
    """
    try:
        owner = json.loads(text) if len(text) <= MAX_CLAIM else None
    except RecursionError:
        owner = None
    except ValueError:
        return {}
    owner = owner if isinstance(owner, dict) else {}
    lease: Any = owner.get("lease")
    valid = type(lease) in (int, float) and 0.1 <= lease <= MAX_LEASE
    return {**owner, "lease": float(lease) if valid else 0.0}


def _read_claim(path: Path) -> tuple[int, dict[str, Any]]:
    """Return when a claim was stamped, in nanoseconds, and its owner."""
    try:
        # Opening makes a network file system fetch the true time.
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns, _owner(file.read(MAX_CLAIM + 1))
    except IsADirectoryError:
        return 0, {}


def _write_new(path: Path, data: bytes, *, sync: bool = False) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Claim:
    """The right to run one cell; as a context, renewed every quarter of its lease and released at the end.

    Why no two processes hold a cell: its claims are numbered files KEY.0.claim, KEY.1.claim, …, made with os.link (or
    O_EXCL), so each number has one maker. The highest number is the current claim, held until it lapses: it was not
    renewed for its lease, or was released (its times set to zero), or its process has ended. Who saw claim n lapsed
    may make claim n + 1, which one can do. Nobody removes or renames a claim before the cell has its record, so no
    number is used twice: a slow process that acts on what it saw long ago finds its number taken, whatever happened
    since (renaming a stale claim away could catch a fresh one). Once the record exists, claims are removed, highest
    first; who makes one after that looks for the record before it runs anything, finds it, and backs off.

    An owner that was stopped for longer than its lease loses its claim; should it awake, it records the same result as
    its successor, atomically. Ages are differences of times that the file system stamped, so the clocks of machines may
    disagree.
    """

    def __init__(self, store: Store, key: str, number: int, lease: float) -> None:
        self.store, self.key, self.number, self.lease = store, key, number, lease
        self.path = store.claim_path(key, number)
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        while not self._stop.wait(self.lease / 4):
            # The next beat may succeed; if none does, the lease runs out.
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Give the claim back: remove it if the cell has its record, otherwise let it lapse at once."""
        # If this fails, the lease runs out.
        with contextlib.suppress(OSError, DataError):
            if self.store.read(self.key) is None:
                os.utime(self.path, _LAPSED)
                return
            for number in range(self.number, -1, -1):
                self.store.claim_path(self.key, number).unlink(missing_ok=True)

    def __enter__(self) -> Claim:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # A beat after the release would renew what was released.
        self._heart.join()
        self.release()


class Store:
    """A folder of cells, one file each, that any number of processes and machines may fill and read at once.

    The folder is created if need be; foreign files in it are left alone. Any method may raise `DataError`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store, config = Store(folder), {"method": "gcn", "seed": 0}
        ...     store.write(cell_key(config), config, {"accuracy": 0.75})
        ...     store.read(cell_key(config))["result"], len(store.keys()), store.damaged()
        ({'accuracy': 0.75}, 1, [])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        with self._guard("make the folder"):
            self.folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _guard(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise DataError(f"{self.folder}: cannot {action} ({why}); what was recorded is intact") from error

    def path(self, key: str) -> Path:
        """Return the file of a cell; `InputError` if `key` is not a key."""
        if not _KEY.fullmatch(key):
            fail("key", "32 hexadecimal digits from cell_key", repr(key))
        return self.folder / f"{key}.v{FORMAT}.json"

    def claim_path(self, key: str, number: int) -> Path:
        """Return the file of a cell's claim of that number, see `Claim`."""
        return self.folder / f"{key}.{number}.claim"

    def read(self, key: str) -> dict[str, Any] | None:
        """Return {"key", "config", "result"}; None if the record is missing, damaged or another cell's."""
        with self._guard("read a cell"), contextlib.suppress(FileNotFoundError, IsADirectoryError):
            return _decode(key, self.path(key).read_bytes())
        return None

    def write(self, key: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Record a cell. Once this returns, the record outlives a power failure; after an error, old or new is there.

        Raises `InputError` unless `config` and `result` are mappings of JSON's types.
        """
        data, target, scratch = _encode(key, config, result), self.path(key), self._scratch()
        with self._guard("write a cell"):
            try:
                _write_new(scratch, data, sync=True)
                os.replace(scratch, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    scratch.unlink()
                raise
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            except OSError as error:
                # Both are raised where folders cannot be synced.
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                    raise
            finally:
                os.close(folder)

    def _scratch(self) -> Path:
        return self.folder / f".{secrets.token_hex(8)}.tmp"

    def _names(self) -> list[str]:
        with self._guard("list the folder"):
            return sorted(os.listdir(self.folder))

    def _recorded(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        for name in self._names():
            match = _RECORD.fullmatch(name)
            if match and int(match[2]) == FORMAT:
                yield match[1], self.read(match[1])

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the valid records, sorted by key, one in memory at a time."""
        return (record for _, record in self._recorded() if record is not None)

    def keys(self) -> list[str]:
        """Return the keys of the valid records, sorted."""
        return [record["key"] for record in self.records()]

    def damaged(self) -> list[Path]:
        """Return the records that are not intact; each stays on disk until its cell is computed again."""
        return [self.path(key) for key, record in self._recorded() if record is None]

    def other_versions(self) -> list[Path]:
        """Return the records that another version of this store wrote; they are kept and never read."""
        matches = map(_RECORD.fullmatch, self._names())
        return [self.folder / match[0] for match in matches if match and int(match[2]) != FORMAT]

    def remarks(self) -> list[str]:
        """Return what a user should know: one line about cells of other versions, one about damaged cells."""
        lines = []
        if others := self.other_versions():
            counts = Counter(path.name.split(".")[1] for path in others)
            versions = ", ".join(f"{count} of {version}" for version, count in sorted(counts.items()))
            lines.append(f"{self.folder}: cells of another version are ignored and kept ({versions}; not v{FORMAT})")
        if damaged := self.damaged():
            lines.append(f"{self.folder}: damaged cells count as missing ({len(damaged)}, {damaged[0].name} first)")
        return lines

    def claim(self, key: str, lease: float = 60.0) -> Claim | None:
        """Claim a cell for a lease in seconds, see `Claim`; None if it has its record or somebody else holds it."""
        lease = real("lease", lease, 0.1, MAX_LEASE)
        with self._guard("claim a cell"):
            number = self._free_number(key, lease)
            claim = None if number is None else Claim(self, key, number, lease)
            if claim is None or not self._make_claim(claim.path, lease):
                return None
        if self.read(key) is None:
            return claim
        claim.release()
        return None

    def _make_claim(self, path: Path, lease: float) -> bool:
        """Make the file of a claim, its text included in one step; False if there is such a file."""
        pid, scratch = os.getpid(), self._scratch()
        owner = {"machine": _machine(), "pid": pid, "started": _started(pid), "lease": lease, "since": time.time()}
        try:
            _write_new(scratch, json.dumps(owner).encode())
            try:
                os.link(scratch, path)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                # No hard links here: if the process is killed now, the lease decides.
                _write_new(path, scratch.read_bytes())
        except FileExistsError:
            return False
        finally:
            scratch.unlink(missing_ok=True)
        return True

    def held(self, key: str, lease: float = 60.0) -> bool:
        """Return whether the cell is claimed; `lease` is for a claim that does not state its own."""
        with self._guard("look at a claim"):
            return self._free_number(key, lease) is None

    def holder(self, key: str) -> tuple[str, float] | None:
        """Return the machine that made the newest claim of a cell, and when, in seconds since 1970 by its clock."""
        with self._guard("look at a claim"), contextlib.suppress(FileNotFoundError):
            number = next(number for number in itertools.count() if not self.claim_path(key, number).exists())
            stamp, owner = _read_claim(self.claim_path(key, number - 1))
            machine = str(owner.get("machine") or "").split() or ["another machine"]
            since = owner.get("since")
            return machine[0][:64], since if isinstance(since, float) and 0 <= since < 1e11 else stamp / 1e9
        return None

    def _free_number(self, key: str, lease: float) -> int | None:
        number = next(number for number in itertools.count() if not self.claim_path(key, number).exists())
        return number if number == 0 or self._lapsed(self.claim_path(key, number - 1), lease) else None

    def _lapsed(self, path: Path, lease: float) -> bool:
        # Before the claim is looked at: a pause in between makes it seem younger, never older.
        now = self._now()
        try:
            stamp, owner = _read_claim(path)
        except FileNotFoundError:
            # Recorded and removed meanwhile.
            return False
        # A stamp that is far ahead of the file system's time even now was not made by its clock.
        distance = now - stamp if stamp <= now else stamp - self._now()
        return distance > owner.get("lease", lease) * 1e9 or _has_ended(owner)

    def _now(self) -> int:
        """Return the file system's time in nanoseconds: what it stamps on a new file."""
        probe = self._scratch()
        try:
            _write_new(probe, b"")
            return probe.stat().st_mtime_ns
        finally:
            probe.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Clear up after killed processes: claims on recorded cells, claims of the dead, old temporary files."""
        with self._guard("clear the folder"):
            now = self._now()
            for name in self._names():
                path, claim = self.folder / name, _CLAIM.fullmatch(name)
                with contextlib.suppress(FileNotFoundError):
                    if claim and self.read(claim[1]) is not None:
                        path.unlink()
                    elif claim and _has_ended(_read_claim(path)[1]):
                        # So that other machines need not wait for the lease.
                        os.utime(path, _LAPSED)
                    elif _SCRATCH.fullmatch(name) and now - path.stat().st_mtime_ns > _SCRATCH_LIFE * 1e9:
                        path.unlink()
