"""The report for support: one tar.gz with all that is known here, without secrets. It waits for nobody."""

import io
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bollard.domain.cluster import Record, kind_of

KEPT: Final = 5
"""Reports that stay in the folder; older ones are removed."""
SECRET_MEMBERS: Final = frozenset(
    {"drbd_secret", "sealed_passphrase", "sealed_before", "digest", "sealed", "salt", "content"}
)
"""Members of records that are left out, or only named as set."""
_SECRET_WORDS: Final = ("password", "passphrase", "secret", "token", "credential", "accesskey", "access_key")
_HIDDEN: Final = "<hidden>"


def name_of(now_ms: int) -> str:
    """The name of a report that is made at this time, without `.tar.gz`."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("sos_%Y-%m-%d_%H-%M-%S")


def dump(found: Iterable[Record], revision: int) -> bytes:
    """Every record, as it is stored, without secrets."""
    records = [{"kind": kind_of(it), **_plain(it)} for it in found]
    return as_json({"revision": revision, "records": records})


def as_json(value: Any) -> bytes:
    """Indented JSON of anything that msgspec knows."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def pack(name: str, parts: Mapping[str, bytes], now_ms: int) -> bytes:
    """A tar.gz with these files in a folder of that name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        for path, content in sorted(parts.items()):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, now_ms // 1000
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def keep(folder: str, name: str, packed: bytes) -> Path:
    """Write a report, 0600, and drop all but the newest. Raises OSError."""
    where = Path(folder) / "sos" if folder else Path(tempfile.mkdtemp(prefix="bollard-sos-"))
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = where / f"{name}.tar.gz"
    path.touch(mode=0o600)
    path.write_bytes(packed)
    for old in sorted(where.glob("sos_*.tar.gz"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _plain(record: Record) -> dict[str, Any]:
    found = _hidden(msgspec.to_builtins(record))
    assert isinstance(found, dict)
    return found


def _hidden(value: Any) -> Any:
    """The same without secrets: of members by name, of properties by the words in their keys."""
    match value:
        case dict():
            return {
                key: _HIDDEN if inner and _is_secret(str(key), inner) else _hidden(inner)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [_hidden(inner) for inner in value]
        case _:
            return value


def _is_secret(key: str, value: Any) -> bool:
    if key in SECRET_MEMBERS:
        return True
    return isinstance(value, str) and any(word in key.lower() for word in _SECRET_WORDS)
