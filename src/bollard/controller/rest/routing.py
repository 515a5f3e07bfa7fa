"""Routes of the API and how a path finds its own: split while still encoded, literals before names.

An encoded slash is part of a name. A slash at the end does not matter; an empty element is not found.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.responses import Response

from bollard.controller.rest import scopes
from bollard.domain.access import Scope
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.codes import Act, Noun

if TYPE_CHECKING:
    from bollard.controller.rest.call import Call

TAIL = "..."
"""Ends the name of a last element that takes all the rest of the path."""


Handler = Callable[["Call"], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method on one path, with what its answers and its documentation need."""

    method: str
    path: str
    handler: Handler
    act: Act = Act.NONE
    noun: Noun = Noun.NONE
    keep_act: bool = False
    body: Any = None
    """The type of the request body; None: a body is ignored."""
    optional_body: bool = False
    """Whether an absent or null body counts as an empty object."""
    answer: Any = list[ApiCallRc]
    """The type of the answer; None: not JSON."""
    refusal: Any = None
    """The type of an answer that refuses, where it may also be another one than a list of entries."""
    status: int = 200
    query: tuple[str, ...] = ()

    @property
    def needs(self) -> Scope:
        """Who may use it, by the table of scopes."""
        return scopes.needs(self.method, self.path)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the path, in order."""
        return tuple(part[1:-1].removesuffix(TAIL) for part in self.path.split("/") if part.startswith("{"))


@dataclass
class _Branch:
    literals: dict[str, "_Branch"] = field(default_factory=dict)
    name: "_Branch | None" = None
    tail: dict[str, Route] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """A route with the elements of the path that it names."""

    route: Route
    names: dict[str, str]


class Routes:
    """All routes as a tree."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._root = _Branch()
        for route in self.all:
            self._add(route)

    def find(self, method: str, raw_path: bytes) -> Match | frozenset[str]:
        """The route for a path as it came, or the methods that this path has (none: no such path)."""
        parts = raw_path.decode("latin-1").split("/")[1:]
        if len(parts) > 1 and parts[-1] == "":
            parts.pop()
        wanted = "GET" if method == "HEAD" else method
        allowed: set[str] = set()
        for routes, names in _leaves(self._root, parts, ()):
            if wanted in routes:
                route = routes[wanted]
                return Match(route, dict(zip(route.names, names, strict=True)))
            allowed.update(routes)
        return frozenset(allowed)

    def _add(self, route: Route) -> None:
        branch = self._root
        parts = route.path.split("/")[1:]
        for part in parts:
            if part.endswith(TAIL + "}"):
                assert part == parts[-1], route.path
                assert route.method not in branch.tail, route
                branch.tail[route.method] = route
                return
            if part.startswith("{"):
                branch.name = branch.name or _Branch()
                branch = branch.name
            else:
                branch = branch.literals.setdefault(part, _Branch())
        assert route.method not in branch.routes, (route.method, route.path)
        branch.routes[route.method] = route


def _leaves(
    branch: _Branch, parts: list[str], names: tuple[str, ...]
) -> Iterator[tuple[dict[str, Route], tuple[str, ...]]]:
    if not parts:
        if branch.routes:
            yield branch.routes, names
        return
    head, rest = parts[0], parts[1:]
    if head in branch.literals:
        yield from _leaves(branch.literals[head], rest, names)
    if head and branch.name is not None:
        yield from _leaves(branch.name, rest, (*names, unquote(head)))
    if branch.tail:
        yield branch.tail, (*names, unquote("/".join(parts)))
