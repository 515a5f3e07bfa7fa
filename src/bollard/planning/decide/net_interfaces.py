"""Network interfaces of nodes. Each function is one command."""

import ipaddress
from collections.abc import Sequence
from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Wait
from bollard.domain.commands import (
    CreateNetInterface,
    DeleteNetInterface,
    ModifyNetInterface,
    NewNetInterface,
)
from bollard.domain.errors import Exists, InUse, Invalid, NotFound, Subject
from bollard.domain.ids import NetIfName, key_of, net_if_name, node_name
from bollard.domain.nodes import Encryption, NetInterface, Node
from bollard.planning import entries
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["DEFAULT_PORTS", "decide", "new"]

DEFAULT_PORTS = {Encryption.PLAIN: 3366, Encryption.SSL: 3367}
"""Where satellites listen."""

Commands = CreateNetInterface | ModifyNetInterface | DeleteNetInterface


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about network interfaces. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateNetInterface():
            return _create(command, draft)
        case ModifyNetInterface():
            return _modify(command, draft)
        case DeleteNetInterface():
            return _delete(command, draft)
        case _:
            assert_never(command)


def new(given: NewNetInterface, present: Sequence[NetInterface], draft: Draft, node: str) -> NetInterface:
    """A new interface. Raises Invalid, or Exists when the node has one of this name.

    It can carry the satellite link only when both the port and the encryption type are given.
    """
    name = net_if_name(given.name)
    if any(key_of(net_if.name) == key_of(name) for net_if in present):
        raise Exists(
            Subject.NET_IF,
            name,
            f"The node '{node}' has a network interface '{name}' already",
            cause="Names are compared without regard to case.",
            correction="Choose another name, or change the existing interface.",
        )
    linked = given.satellite_port is not None and given.satellite_encryption is not None
    return NetInterface(
        name=name,
        address=_address(given.address),
        uuid=draft.world.draw.uuid(),
        satellite_port=_port(given.satellite_port) if linked else None,
        satellite_encryption=_encryption(given.satellite_encryption) if linked else None,
    )


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise Invalid(
            Subject.NET_ADDRESS,
            text[:64],
            f"'{text[:64]}' is not a network address",
            cause="Only IPv4 and IPv6 addresses are taken, no host names.",
        ) from None


def _port(port: int | None) -> int | None:
    if port is not None and not 1 <= port <= 65535:
        raise Invalid(
            Subject.NET_PORT,
            str(port),
            f"{port} is not a TCP port",
            cause="A port is a number from 1 to 65535.",
        )
    return port


def _encryption(text: str | None) -> Encryption | None:
    if text is None:
        return None
    try:
        return Encryption(text.upper())
    except ValueError:
        raise Invalid(
            Subject.REQUEST,
            text[:48],
            f"'{text[:48]}' is not an encryption type",
            correction="Use PLAIN or SSL.",
        ) from None


def _create(command: CreateNetInterface, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    made = new(command.net_interface, node.net_interfaces, draft, node.name)
    activate = bool(command.net_interface.is_active) or node.link() is None
    changed = _with(node, (*node.net_interfaces, made), made if activate else None)
    draft.put(changed)
    refs = entries.refs_of(node=node.name, uuid=made.uuid)
    said = entries.created(
        Subject.NET_IF, f"The network interface '{made.name}' of '{node.name}' was created", refs
    )
    return outcome(draft, [said], waits=(Wait(node=node.name),))


def _with(node: Node, net_interfaces: tuple[NetInterface, ...], active: NetInterface | None) -> Node:
    """The node with these interfaces; `active` takes over the link if it can carry it."""
    changed = msgspec.structs.replace(node, net_interfaces=net_interfaces)
    if active is not None and active.satellite_port is not None:
        changed = msgspec.structs.replace(
            changed,
            active_net_if=active.name,
            props=changed.props | {props.CURRENT_LINK.key: active.name},
        )
    return changed


def _find(node: Node, name: NetIfName) -> NetInterface | None:
    return next((nif for nif in node.net_interfaces if key_of(nif.name) == key_of(name)), None)


def _modify(command: ModifyNetInterface, draft: Draft) -> Decision:
    node = draft.find_node(command.node)
    name = net_if_name(command.name)
    net_if = _find(node, name)
    if net_if is None:
        raise NotFound(Subject.NET_IF, name, f"The node '{node.name}' has no network interface '{name}'")
    changed = net_if
    if command.address is not None:
        changed = msgspec.structs.replace(changed, address=_address(command.address))
    if command.satellite_encryption is not None:
        encryption = _encryption(command.satellite_encryption)
        assert encryption is not None
        port = _port(command.satellite_port) or changed.satellite_port or DEFAULT_PORTS[encryption]
        changed = msgspec.structs.replace(changed, satellite_encryption=encryption, satellite_port=port)
    elif command.satellite_port is not None:
        encryption = changed.satellite_encryption or Encryption.PLAIN
        changed = msgspec.structs.replace(
            changed, satellite_port=_port(command.satellite_port), satellite_encryption=encryption
        )
    whole = tuple(changed if nif is net_if else nif for nif in node.net_interfaces)
    draft.put(_with(node, whole, changed if command.is_active else None))
    refs = entries.refs_of(node=node.name, uuid=net_if.uuid)
    said = entries.modified(
        Subject.NET_IF, f"The network interface '{net_if.name}' of '{node.name}' was changed", refs
    )
    return outcome(draft, [said], waits=(Wait(node=node.name),) if changed != net_if else ())


def _delete(command: DeleteNetInterface, draft: Draft) -> Decision:
    host, name = node_name(command.node), net_if_name(command.name)
    node = draft.cluster.nodes.get(key_of(host))
    net_if = _find(node, name) if node is not None else None
    refs = entries.refs_of(node=host)
    if node is None or net_if is None:
        said = entries.not_there(Subject.NET_IF, f"The node '{host}' has no network interface '{name}'", refs)
        return Decision(entries=(said,))
    rest = tuple(nif for nif in node.net_interfaces if nif is not net_if)
    if not any(nif is not net_if for nif in node.net_interfaces) and draft.cluster.resource_count(host):
        raise InUse(
            Subject.NET_IF,
            name,
            f"The last network interface of '{host}' cannot be deleted",
            cause="Resources of the node use its address.",
            correction="Create another interface first.",
        )
    changed = msgspec.structs.replace(node, net_interfaces=rest)
    if node.active_net_if is not None and key_of(node.active_net_if) == key_of(name):
        heir = next((nif for nif in rest if nif.satellite_port is not None), None)
        changed = msgspec.structs.replace(
            changed,
            active_net_if=heir.name if heir is not None else None,
            props={key: value for key, value in changed.props.items() if key != props.CURRENT_LINK.key},
        )
        changed = _with(changed, rest, heir)
    if props.PREF_NIC.key in changed.props and key_of(changed.props[props.PREF_NIC.key]) == key_of(name):
        rest_props = {key: value for key, value in changed.props.items() if key != props.PREF_NIC.key}
        changed = msgspec.structs.replace(changed, props=rest_props)
    draft.put(changed)
    said = entries.deleted(
        Subject.NET_IF,
        f"The network interface '{net_if.name}' of '{node.name}' was deleted",
        refs | {"UUID": net_if.uuid},
    )
    return outcome(draft, [said])
