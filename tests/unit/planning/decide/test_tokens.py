"""Tokens: made, changed, revoked, and nobody locks himself out."""

import pytest

from bollard.domain import commands as c
from bollard.domain.access import Scope
from bollard.domain.errors import Conflict, DomainError, Invalid, NotFound
from bollard.planning.decide import decide
from planning_lab import Lab, codes

KEY = "Auth/TokenAuthenticationEnabled"


def create(word: str = "a", **more: object) -> c.CreateToken:
    return c.CreateToken(**{"digest": word * 64, "description": word} | more)  # type: ignore[arg-type]


def refused(lab: Lab, command: c.Command) -> type[DomainError]:
    with pytest.raises(DomainError) as caught:
        decide(command, lab.world)
    return type(caught.value)


def switch(value: str) -> c.ModifyController:
    return c.ModifyController(props=c.PropsChange(override={KEY: value}))


def test_numbers_are_never_given_twice() -> None:
    lab = Lab(0)
    for word in "abc":
        lab.run(create(word))
    lab.run(c.RevokeToken(number=3))
    lab.run(create("d"))
    assert sorted(token.number for token in lab.cluster.tokens.values()) == [1, 2, 3, 4]
    assert codes(lab.run(c.RevokeToken(number=3))) == ["warning|delete|COMMAND|NOT_FOUND"]
    assert lab.cluster.token_of("d" * 64) == lab.cluster.tokens["4"]  # type: ignore[index]


def test_fields_are_checked() -> None:
    lab = Lab(0)
    for wrong in (
        {"description": ""},
        {"description": "x" * 300},
        {"scope": "root"},
        {"scope": "open"},
        {"expires_at": "tomorrow"},
        {"ip_filter": "10.0.0.0/24"},
        {"ip_filter": "host"},
    ):
        assert refused(lab, create(**wrong)) is Invalid
    lab.run(create(expires_at="2030-01-02", ip_filter="::FFFF:10.0.0.1", scope="Viewer"))
    (made,) = lab.cluster.tokens.values()
    assert made.expires_ms == 1893542400000
    assert made.scope is Scope.VIEWER
    assert made.ip_filter in {"::ffff:10.0.0.1", "::ffff:a00:1"}


def test_tokens_are_demanded_with_the_first_one_and_only_once() -> None:
    lab = Lab(0)
    lab.run(create(enable=True))
    assert lab.cluster.props()[KEY] == "true"
    again = lab.run(create("b", enable=True))
    assert codes(again) == ["warning|none|COMMAND|NO_EFFECT"]
    assert not again.changes


def test_nobody_locks_himself_out() -> None:
    lab = Lab(0)
    assert refused(lab, switch("true")) is Conflict
    lab.run(create("v", scope="viewer"))
    lab.run(create("x", expires_at="1969-01-01"))
    lab.run(create("n", node="n1"))
    assert refused(lab, switch("true")) is Conflict
    assert refused(lab, create("w", scope="viewer", enable=True)) is Conflict
    lab.run(create("a"))
    lab.run(switch("true"))
    assert refused(lab, c.RevokeToken(number=4)) is Conflict
    assert refused(lab, c.ModifyToken(number=4, active=False)) is Conflict
    assert refused(lab, c.ModifyToken(number=4, scope="operator")) is Conflict
    lab.run(create("b"))
    lab.run(c.RevokeToken(number=4))
    assert refused(lab, c.RevokeToken(number=5)) is Conflict


def test_tokens_are_given_up_by_name_only() -> None:
    lab = Lab(0)
    lab.run(create(enable=True))
    space = c.ModifyController(props=c.PropsChange(delete_namespaces=("Auth",)))
    assert refused(lab, space) is Invalid
    lab.run(switch("false"))
    assert lab.cluster.props()[KEY] == "false"
    lab.run(space)
    assert KEY not in lab.cluster.props()


def test_changes_of_a_token() -> None:
    lab = Lab(0)
    lab.run(create(ip_filter="10.0.0.1"))
    lab.run(c.ModifyToken(number=1, description="new", ip_filter="", active=False, scope="operator"))
    (token,) = lab.cluster.tokens.values()
    assert (token.description, token.ip_filter, token.active, token.scope) == ("new", None, False, "operator")
    assert refused(lab, c.ModifyToken(number=9)) is NotFound
    lab.run(c.RevokeToken(number=1))
    assert refused(lab, c.ModifyToken(number=1, active=True)) is Conflict
