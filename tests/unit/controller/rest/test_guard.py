"""Who is let in while there are no keys."""

import asyncio

import pytest

from bollard.controller.rest.guard import LocalGuard
from bollard.controller.rest.routing import Scope
from bollard.domain.errors import Denied


def _admit(peer: str, scope: str) -> object:
    return asyncio.run(LocalGuard().admit({}, peer, scope))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_do_everything(peer: str) -> None:
    assert _admit(peer, Scope.ADMIN) is None


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "", "nonsense"])
def test_others_may_only_join(peer: str) -> None:
    assert isinstance(_admit(peer, Scope.VIEWER), Denied)
    assert _admit(peer, Scope.OPEN) is None
