"""The one table that says which scope a route needs. A route that no row covers needs an administrator.

Rows are tried in order. A pattern is a path as routes have it; `*` at its end stands for any rest.
"""

from functools import cache
from typing import Final

from bollard.domain.access import Scope

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ALL: Final = READS | _WRITES

Row = tuple[frozenset[str], str, Scope]

_O, _V, _P, _A = Scope.OPEN, Scope.VIEWER, Scope.OPERATOR, Scope.ADMIN

TABLE: Final[tuple[Row, ...]] = (
    # Open to everyone: no state, no secrets.
    (READS, "/", _O),
    (READS, "/health", _O),
    (frozenset({"POST"}), "/v1/bollard/join", _O),
    (READS, "/v1/bollard/ca", _O),
    # Keys, and what shows or moves the whole cluster.
    (_ALL, "/v1/controller/auth/*", _A),
    (READS, "/v1/encryption/passphrase", _V),
    (_WRITES, "/v1/encryption/passphrase", _A),
    (_WRITES, "/v1/controller/*", _A),
    (READS, "/v1/sos-report*", _A),
    (_WRITES, "/v1/error-reports*", _A),
    (_ALL, "/v1/internal/*", _A),
    # Files are written by root on every node.
    (_WRITES, "/v1/files/*", _A),
    # Machines and their disks.
    (_WRITES, "/v1/nodes", _A),
    (_WRITES, "/v1/nodes/ebs", _A),
    (_WRITES, "/v1/nodes/exec/*", _A),
    (_WRITES, "/v1/nodes/{node}/config", _A),
    (frozenset({"DELETE"}), "/v1/nodes/*", _A),
    (frozenset({"PUT"}), "/v1/nodes/{node}/evict", _A),
    (_WRITES, "/v1/nodes/{node}/storage-pools*", _A),
    (_WRITES, "/v1/physical-storage/*", _A),
    (_WRITES, "/v1/remotes*", _A),
    (_WRITES, "/v1/schedules*", _A),
    # Questions that are asked with a body.
    (frozenset({"POST"}), "/v1/queries/*", _V),
    (frozenset({"POST"}), "/v1/resource-groups/{resource_group}/query-size-info", _V),
    (frozenset({"OPTIONS"}), "/v1/*", _V),
    # Everything else of the API: readers read, operators change.
    (READS, "/v1/*", _V),
    (READS, "/metrics*", _V),
    (_WRITES, "/v1/nodes/*", _P),
    (_WRITES, "/v1/node-connections*", _P),
    (_WRITES, "/v1/storage-pool-definitions*", _P),
    (_WRITES, "/v1/resource-groups*", _P),
    (_WRITES, "/v1/resource-definitions*", _P),
    (_WRITES, "/v1/actions/*", _P),
    (_WRITES, "/v1/view/*", _P),
    (_WRITES, "/v1/key-value-store/*", _P),
    (_WRITES, "/v1/bollard/*", _P),
)


def rule_for(method: str, path: str) -> Scope | None:
    """The scope that the table says, or None when it says nothing of this route."""
    for methods, pattern, scope in TABLE:
        if method in methods and _fits(pattern, path):
            return scope
    return None


@cache
def needs(method: str, path: str) -> Scope:
    """The scope that a route needs."""
    return rule_for(method, path) or Scope.ADMIN


def _fits(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
