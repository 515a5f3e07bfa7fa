"""The controller's properties, properties of pairs of nodes, key-value stores. Each is one command."""

import re
from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Entry
from bollard.domain.commands import (
    DeleteKeyValueStore,
    ModifyConnection,
    ModifyController,
    ModifyKeyValueStore,
    PropsChange,
)
from bollard.domain.errors import Invalid, Subject
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Node, Props
from bollard.domain.props import Scope
from bollard.domain.resources import Connection, ControllerSettings, KeyValueStore
from bollard.planning import entries
from bollard.planning.decide import properties, tokens
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide"]

Commands = ModifyController | ModifyConnection | ModifyKeyValueStore | DeleteKeyValueStore

_STORE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{1,47}")
_POOLS_OF_NUMBERS = frozenset({props.TCP_PORT_AUTO_RANGE.key, props.MINOR_NR_AUTO_RANGE.key})


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about settings. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case ModifyController():
            return _controller(command, draft)
        case ModifyConnection():
            return _connection(command, draft)
        case ModifyKeyValueStore():
            return _kvs(command, draft)
        case DeleteKeyValueStore():
            return _delete_kvs(command, draft)
        case _:
            assert_never(command)


def _controller(command: ModifyController, draft: Draft) -> Decision:
    settings = draft.cluster.settings
    assert settings is not None, "a cluster has settings from its first start on"
    change = _renamed(command.props)
    after = props.changed(
        settings.props,
        Scope.CONTROLLER,
        override=change.override,
        delete=change.delete,
        delete_namespaces=change.delete_namespaces,
    )
    after = properties.note_quorum(settings.props, after, change)
    _check_tokens(settings.props, after, change, draft)
    draft.put(ControllerSettings(settings.cluster_uuid, after))
    said: list[Entry] = []
    for key in change.override:
        if key in _POOLS_OF_NUMBERS:
            said.append(entries.modified(Subject.CONTROLLER, f"Numbers are now taken by {key}", {}))
        said.append(entries.created(Subject.CONTROLLER, f"The property {key} was set", {}))
    said += [
        entries.deleted(Subject.CONTROLLER, f"The property {key} was deleted", {}) for key in change.delete
    ]
    return Decision(changes=draft.changes(), entries=tuple(said))


def _check_tokens(before: Props, after: Props, change: PropsChange, draft: Draft) -> None:
    """Tokens are demanded only when there is one, and given up by name only. Raises Conflict or Invalid."""
    was, will = props.TOKEN_AUTH.truth(before), props.TOKEN_AUTH.truth(after)
    if will and not was:
        tokens.require_admin(draft.cluster, draft.world.now_ms)
    key = props.TOKEN_AUTH.key
    if was and not will and key not in change.override and key not in change.delete:
        raise Invalid(
            Subject.PROPERTY,
            key,
            "The namespace 'Auth' cannot be deleted while tokens are demanded",
            cause="Everyone who reaches this controller could use it.",
            correction=f"To open it on purpose, set {key} to false.",
        )


def _renamed(change: PropsChange) -> PropsChange:
    """Older spellings of keys become the present ones."""
    old, new = props.EXT_CMD_WAIT_TIMEOUT_OLD.key, props.EXT_CMD_WAIT_TIMEOUT.key
    if old not in change.override:
        return change
    override = {new if key == old else key: value for key, value in change.override.items()}
    return msgspec.structs.replace(change, override=override)


def _connection(command: ModifyConnection, draft: Draft) -> Decision:
    of_one = command.definition is not None
    subject = Subject.RESOURCE_CONNECTION if of_one else Subject.NODE_CONNECTION
    scope = Scope.RESOURCE_CONNECTION if of_one else Scope.NODE_CONNECTION
    first, second = draft.find_node(command.node_a), draft.find_node(command.node_b)
    if first.key == second.key:
        raise Invalid(
            subject,
            first.name,
            f"The node '{first.name}' has no connection with itself",
            cause="Both names are the same.",
        )
    definition = draft.find_definition(command.definition) if command.definition is not None else None
    if definition is not None:
        for node in (first, second):
            draft.find_resource(definition.name, node.name)
    fresh = Connection(
        node_a=first.name,
        node_b=second.name,
        definition=definition.name if definition is not None else None,
    )
    found = draft.cluster.connections.get(fresh.key, fresh)
    refs = entries.refs_of(
        first=first.name, second=second.name, definition=definition.name if definition else None
    )
    after, said = properties.apply(found.props, command.props, scope, subject=subject, refs=refs)
    _check_paths(after, (first, second))
    if after:
        draft.put(msgspec.structs.replace(found, props=after))
    elif fresh.key in draft.cluster.connections:
        draft.drop(found)
    message = f"The connection of '{first.name}' and '{second.name}' was changed"
    said.append(entries.modified(subject, message, refs))
    return outcome(draft, said)


def _check_paths(after: Props, pair: tuple[Node, Node]) -> None:
    """Raises Invalid for a path over an interface that its node does not have."""
    by_key = {node.key: node for node in pair}
    for key, value in after.items():
        parts = key.split("/")
        if not key.startswith(props.PATHS):
            continue
        node = by_key.get(key_of(parts[2])) if len(parts) == 3 else None
        if node is None or key_of(value) not in {key_of(nif.name) for nif in node.net_interfaces}:
            raise Invalid(
                Subject.PROPERTY,
                key,
                f"'{key}' with '{value}' is not a path",
                cause="A path is Paths/NAME/NODE = one of that node's network interfaces.",
            )


def _kvs(command: ModifyKeyValueStore, draft: Draft) -> Decision:
    key = _store_key(command.name)
    found = draft.cluster.kvs.get(key, KeyValueStore(command.name))
    change = command.props
    spaces = tuple(space.rstrip("/") + "/" for space in change.delete_namespaces if space.strip("/"))
    gone = {_plain(name) for name in change.delete}
    after = {
        name: value
        for name, value in (
            found.props | {_plain(name): value for name, value in change.override.items()}
        ).items()
        if name not in gone and not name.startswith(spaces)
    }
    if after:
        draft.put(KeyValueStore(found.name, after))
    elif key in draft.cluster.kvs:
        draft.drop(found)
    said = entries.modified(Subject.KEY_VALUE_STORE, f"The key-value store '{found.name}' was changed", {})
    return Decision(changes=draft.changes(), entries=(said,))


def _plain(name: str) -> str:
    """A key as it is kept: without slashes at its ends."""
    return name.strip("/")


def _store_key(name: str) -> Key:
    if not _STORE_NAME.fullmatch(name):
        raise Invalid(
            Subject.KEY_VALUE_STORE,
            name[:48],
            f"'{name[:48]}' is not a valid name of a key-value store",
            cause="It has 2 to 48 characters: letters, digits, '_' and '-', and starts with a letter or '_'.",
        )
    return key_of(name)


def _delete_kvs(command: DeleteKeyValueStore, draft: Draft) -> Decision:
    found = draft.cluster.kvs.get(_store_key(command.name))
    if found is None:
        said = entries.not_there(Subject.KEY_VALUE_STORE, f"There is no key-value store '{command.name}'", {})
        return Decision(entries=(said,))
    draft.drop(found)
    done = entries.deleted(Subject.KEY_VALUE_STORE, f"The key-value store '{found.name}' was deleted", {})
    return Decision(changes=draft.changes(), entries=(done,))
