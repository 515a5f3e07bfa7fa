"""External files: keep, replace, delete, and attach to resource definitions, whose nodes write them."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Wait
from bollard.domain.commands import AttachFile, DeleteFile, PutFile
from bollard.domain.errors import Invalid, NotFound, Subject
from bollard.domain.files import ExternalFile, prop_of
from bollard.domain.ids import Key
from bollard.domain.resources import ResourceDefinition
from bollard.planning import entries
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide"]

Commands = PutFile | DeleteFile | AttachFile
PATH_MAX = 1024
CONTENT_BYTES_MAX = 256 << 10
_SUFFIX_MAX = 32


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about external files. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case PutFile():
            return _put(command, draft)
        case DeleteFile():
            return _delete(command, draft)
        case AttachFile():
            return _attach(command, draft)
        case _:
            assert_never(command)


def _put(command: PutFile, draft: Draft) -> Decision:
    path = _checked_path(command.path)
    if len(command.content) > CONTENT_BYTES_MAX:
        raise Invalid(
            Subject.EXTERNAL_FILE,
            path,
            f"The file has {len(command.content)} bytes",
            cause=f"An external file has {CONTENT_BYTES_MAX} bytes at most.",
        )
    found = draft.cluster.files.get(Key(path))
    suffixes = command.alt_suffixes
    if suffixes is None:
        suffixes = found.alt_suffixes if found is not None else ()
    if any(not suffix or len(suffix) > _SUFFIX_MAX or "/" in suffix or "\0" in suffix for suffix in suffixes):
        raise Invalid(
            Subject.EXTERNAL_FILE,
            path,
            "An alternative suffix has 1 to 32 characters without '/'",
        )
    draft.put(ExternalFile(path, command.content, suffixes))
    said = [entries.modified(Subject.EXTERNAL_FILE, f"The file '{path}' is kept", _refs(path))]
    return _told(draft, said, _attached(draft, path))


def _delete(command: DeleteFile, draft: Draft) -> Decision:
    path = _checked_path(command.path)
    found = draft.cluster.files.get(Key(path))
    if found is None:
        said = entries.not_there(Subject.EXTERNAL_FILE, f"There is no file '{path}'", _refs(path))
        return Decision(entries=(said,))
    users = _attached(draft, path)
    for definition in users:
        kept = {key: value for key, value in definition.props.items() if key != prop_of(path)}
        draft.put(msgspec.structs.replace(definition, props=kept))
    draft.drop(found)
    names = ", ".join(definition.name for definition in users)
    details = f"It was attached to {names}; the nodes remove what they wrote." if users else ""
    done = entries.deleted(Subject.EXTERNAL_FILE, f"The file '{path}' was deleted", _refs(path), details)
    return _told(draft, [done], users)


def _attach(command: AttachFile, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    name = prop_of(command.path)
    if Key(command.path) not in draft.cluster.files and (command.attached or name not in definition.props):
        raise NotFound(
            Subject.EXTERNAL_FILE,
            command.path[:64],
            f"There is no file '{command.path[:64]}'",
            cause="It was never created, or it was deleted.",
            correction="Create it with 'bollard file modify'.",
        )
    kept = {key: value for key, value in definition.props.items() if key != name}
    changed = kept | {name: "True"} if command.attached else kept
    draft.put(msgspec.structs.replace(definition, props=changed))
    # The original answers these two with an empty list.
    return outcome(draft, [])


def _told(draft: Draft, said: list[Entry], users: list[ResourceDefinition]) -> Decision:
    waits = [
        Wait(node=resource.node, resource=resource.definition)
        for definition in users
        for resource in draft.cluster.resources_of(definition.name)
    ]
    return Decision(changes=draft.changes(), entries=tuple(said), waits=tuple(waits))


def _attached(draft: Draft, path: str) -> list[ResourceDefinition]:
    name = prop_of(path)
    table = draft.cluster.definitions
    return [table[key] for key in sorted(table) if name in table[key].props]


def _refs(path: str) -> dict[str, str]:
    return {"ExtFile": path}


def _checked_path(path: str) -> str:
    good = (
        path.startswith("/")
        and 2 <= len(path) <= PATH_MAX
        and not {"", ".", ".."} & set(path.split("/")[1:])
        and path.isprintable()
    )
    if not good:
        raise Invalid(
            Subject.EXTERNAL_FILE,
            path[:64],
            f"'{path[:64]}' is not a path for a file",
            cause=f"It is absolute, without '..' and doubled slashes, and has {PATH_MAX} characters at most.",
        )
    return path
