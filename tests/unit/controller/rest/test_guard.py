"""Who is let in: this machine while there are no keys, then those with a key for what they want."""

import asyncio
import hashlib

import pytest

from bollard.controller.rest.api import Identity, OpenGuard, SignIn, TooMany, Visitor
from bollard.controller.rest.guard import ANYONE, FAILURES_BURST, KeyGuard, LocalGuard
from bollard.controller.rest.limits import NAMES_MAX, Buckets
from bollard.domain.access import AuthToken, Scope
from bollard.domain.cluster import Cluster
from bollard.domain.errors import Denied
from bollard.domain.ids import NodeName, Uuid
from bollard.domain.nodes import Node
from bollard.domain.resources import ControllerSettings

NOW_MS = 1_800_000_000_000
FAR, HERE = "10.0.0.9", "127.0.0.1"


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return self.seconds

    async def sleep(self, delay_s: float) -> None:
        self.seconds += delay_s


class OneCertificate:
    """Knows `good` only."""

    def client(self, certificate: bytes, now_ms: int) -> tuple[str, Scope] | None:
        return ("ci", Scope.OPERATOR) if certificate == b"good" else None


def token(number: int, word: str, **more: object) -> AuthToken:
    digest = hashlib.sha256(word.encode()).hexdigest()
    return AuthToken(number=number, digest=digest, description=word, **more)  # type: ignore[arg-type]


TOKENS = (
    token(1, "admin"),
    token(2, "reader", scope=Scope.VIEWER),
    token(3, "expired", expires_ms=NOW_MS),
    token(4, "resting", active=False),
    token(5, "revoked", deleted_ms=1),
    token(6, "bound", ip_filter=FAR),
    token(7, "later", expires_ms=NOW_MS + 1),
    token(8, "node", node="n1"),
    token(9, "gone", node="n2"),
)


def guard(*, demanded: bool, calls: Buckets | None = None, clock: Clock | None = None) -> KeyGuard:
    props = {"Auth/TokenAuthenticationEnabled": "true"} if demanded else {}
    node = Node(name=NodeName("n1"), uuid=Uuid("n"))
    cluster = Cluster((ControllerSettings(Uuid("u"), props), node, *TOKENS))
    return KeyGuard(
        LocalGuard(), lambda: cluster, clock or Clock(), calls=calls, certificates=OneCertificate()
    )


def ask(
    keeper: KeyGuard | LocalGuard,
    word: str = "",
    *,
    peer: str = FAR,
    needs: Scope = Scope.VIEWER,
    certificate: bytes | None = None,
) -> Identity:
    headers = {"authorization": f"bEaReR {word}"} if word else {}
    return asyncio.run(keeper.admit(Visitor(headers, peer, certificate), needs))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_do_everything_while_no_tokens_are_demanded(peer: str) -> None:
    assert ask(LocalGuard(), peer=peer, needs=Scope.ADMIN).scope is Scope.ADMIN
    assert ask(guard(demanded=False), peer=peer, needs=Scope.ADMIN).name == "local"
    with pytest.raises(SignIn):
        ask(guard(demanded=True), peer=peer)


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "", "nonsense"])
def test_others_may_only_join(peer: str) -> None:
    for keeper in (LocalGuard(), guard(demanded=False)):
        with pytest.raises(Denied):
            ask(keeper, peer=peer)
        assert ask(keeper, peer=peer, needs=Scope.OPEN) == ANYONE


@pytest.mark.parametrize("demanded", [False, True])
def test_a_good_token_opens_from_anywhere_what_its_scope_allows(*, demanded: bool) -> None:
    keeper = guard(demanded=demanded)
    assert ask(keeper, "admin", needs=Scope.ADMIN) == Identity("token:1", Scope.ADMIN)
    assert ask(keeper, "reader").name == "token:2"
    assert ask(keeper, "bound").name == "token:6"
    assert ask(keeper, "later").name == "token:7"
    assert ask(keeper, "node").name == "token:8"
    with pytest.raises(Denied) as refused:
        ask(keeper, "reader", needs=Scope.OPERATOR)
    assert not isinstance(refused.value, SignIn)


@pytest.mark.parametrize("word", ["wrong", "expired", "resting", "revoked", "gone", "", "x" * 600])
def test_what_is_no_good_token_opens_nothing(word: str) -> None:
    with pytest.raises(SignIn):
        ask(guard(demanded=True), word)
    with pytest.raises(Denied):
        ask(guard(demanded=False), word)
    assert ask(guard(demanded=False), word, peer=HERE).name == "local"


def stays(
    keeper: KeyGuard | LocalGuard, word: str = "", *, peer: str = FAR, needs: Scope = Scope.VIEWER
) -> bool:
    headers = {"authorization": f"Bearer {word}"} if word else {}
    return asyncio.run(keeper.stays(Visitor(headers, peer), needs))


def test_who_was_admitted_stays_as_long_as_he_would_be_admitted_again() -> None:
    for keeper in (guard(demanded=True), guard(demanded=False)):
        assert stays(keeper, "reader")
        assert not stays(keeper, "reader", needs=Scope.OPERATOR)
        assert not any(stays(keeper, word) for word in ("wrong", "expired", "revoked", ""))
    assert stays(guard(demanded=False), peer=HERE)
    assert not stays(guard(demanded=True), peer=HERE)
    assert stays(LocalGuard(), needs=Scope.OPEN)
    assert not stays(LocalGuard())
    assert asyncio.run(OpenGuard().stays(Visitor({}, FAR), Scope.ADMIN))


def test_asking_whether_one_stays_is_no_call() -> None:
    keeper = guard(demanded=True, calls=Buckets(1, 1))
    assert all(stays(keeper, "reader") for _ in range(5))
    assert ask(keeper, "reader").name == "token:2"


def test_a_bound_token_opens_nothing_from_elsewhere() -> None:
    with pytest.raises(SignIn):
        ask(guard(demanded=True), "bound", peer="10.0.0.8")
    assert ask(guard(demanded=True), "bound", peer="::ffff:" + FAR).name == "token:6"


def test_a_certificate_is_a_key_too() -> None:
    keeper = guard(demanded=True)
    assert ask(keeper, certificate=b"good", needs=Scope.OPERATOR).name == "certificate:ci"
    with pytest.raises(Denied, match="may not"):
        ask(keeper, certificate=b"good", needs=Scope.ADMIN)
    with pytest.raises(SignIn):
        ask(keeper, certificate=b"bad")


def test_who_comes_too_often_is_told_when_to_come_again() -> None:
    clock = Clock()
    keeper = guard(demanded=True, calls=Buckets(2.0, 3), clock=clock)
    for _ in range(3):
        ask(keeper, "admin")
    with pytest.raises(TooMany) as refused:
        ask(keeper, "admin")
    assert 0 < refused.value.wait_s <= 0.5
    assert ask(keeper, "reader").name == "token:2"
    clock.seconds += 0.5
    assert ask(keeper, "admin").name == "token:1"


def test_guessing_is_slowed_down_where_it_comes_from() -> None:
    keeper = guard(demanded=True)
    for _ in range(FAILURES_BURST):
        with pytest.raises(SignIn):
            ask(keeper, "guess")
    with pytest.raises(TooMany):
        ask(keeper, "guess")
    with pytest.raises(SignIn):
        ask(keeper, "guess", peer="10.0.0.8")
    assert ask(keeper, "admin").name == "token:1"


def test_an_open_controller_demands_tokens_when_told_to() -> None:
    cluster = Cluster((ControllerSettings(Uuid("u"), {"Auth/TokenAuthenticationEnabled": "True"}), *TOKENS))
    keeper = KeyGuard(OpenGuard(), lambda: cluster, Clock())
    with pytest.raises(SignIn):
        ask(keeper)
    open_cluster = Cluster((ControllerSettings(Uuid("u"), {}),))
    assert ask(KeyGuard(OpenGuard(), lambda: open_cluster, Clock()), needs=Scope.ADMIN).name == "open"


def test_the_names_that_are_counted_do_not_grow_without_end() -> None:
    buckets = Buckets(1.0, 1)
    for number in range(NAMES_MAX + 10):
        assert buckets.take(str(number), 0.0) == 0
    assert buckets.take("0", 0.0) == 0, "the first was forgotten"
    assert buckets.take(str(NAMES_MAX + 9), 0.0) == pytest.approx(1.0)
