"""Request bodies: what is taken, what is refused."""

import msgspec
import pytest

from bollard.domain.commands import PropsChange
from bollard.domain.errors import Invalid, Subject
from bollard.wire.rest.bodies import PropsModify, props
from bollard.wire.rest.groups import AutoSelectFilter, filter_of
from bollard.wire.rest.nodes import NodeBody


def test_property_values_become_text() -> None:
    assert props({"a": 5, "b": True, "c": "x", "d": 1.5}) == {"a": "5", "b": "true", "c": "x", "d": "1.5"}


def test_a_null_property_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        props({"a": None})
    assert caught.value.subject is Subject.PROPERTY


def test_null_members_are_as_good_as_none() -> None:
    body = msgspec.convert(
        {"override_props": None, "delete_props": None, "delete_namespaces": None}, PropsModify
    )
    assert body.change() == PropsChange()


def test_unknown_members_are_refused_at_any_depth() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "n1", "colour": "red"}, NodeBody)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "n1", "net_interfaces": [{"name": "x", "colour": 1}]}, NodeBody)


def test_the_single_pool_of_old_clients_is_a_list_of_one() -> None:
    assert filter_of(AutoSelectFilter(storage_pool="p1")).storage_pools == ("p1",)
    both = AutoSelectFilter(storage_pool="p1", storage_pool_list=("p2",))
    assert filter_of(both).storage_pools == ("p2",)
    assert filter_of(AutoSelectFilter(storage_pool="")).storage_pools == ()
    assert filter_of(None).storage_pools is None


def test_layers_inside_a_filter_can_be_left_alone() -> None:
    nonsense = AutoSelectFilter(layer_stack=("NOPE",))
    assert filter_of(nonsense, with_layers=False).layer_stack is None
    with pytest.raises(Invalid):
        filter_of(nonsense)
