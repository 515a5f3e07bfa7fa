"""Routes of the master passphrase and of passphrases of volumes. Nothing of them is shown or logged."""

import asyncio
from typing import Any

from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.commands import SetMasterKey, SetVolumePassphrase
from bollard.domain.errors import Conflict, DomainError, Exists, Invalid, Subject
from bollard.wire.rest import answers
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.encryption import PassphraseCreate, PassphraseStatus, VolumePassphrase

_PATH = "/v1/encryption/passphrase"
_VOLUME = "/v1/resource-definitions/{resource}/volume-definitions/{volume_number}/encryption-passphrase"
PASSPHRASE_MAX = 1024


async def show_status(call: Call) -> Response:
    """Whether there is a master passphrase, and whether it was entered."""
    service = call.api.service
    if service.cluster.master_key is None:
        return call.json(PassphraseStatus("unset"))
    return call.json(PassphraseStatus("unlocked" if service.vault.unlocked else "locked"))


async def create_passphrase(call: Call) -> Response:
    """Set the master passphrase, once."""
    body: PassphraseCreate = await call.body()
    service = call.api.service
    before = service.cluster.master_key
    if before is not None:
        raise _exists("It was created before.", "modify")
    new = _checked(body.new_passphrase)
    async with service.vault.turn:
        record, key = await asyncio.to_thread(service.vault.create, new)
    response = await call.run(SetMasterKey(sealed=record))
    if service.cluster.master_key == record:
        service.unlock(key)
    return response


async def modify_passphrase(call: Call) -> Response:
    """Change the master passphrase; it need not have been entered."""
    body: PassphraseCreate = await call.body()
    service = call.api.service
    record = service.cluster.master_key
    if record is None:
        # The original's code says that one exists; clients know it as this case.
        raise _exists("None was created yet, so there is none to change.", "create")
    new = _checked(body.new_passphrase)
    old = body.old_passphrase or ""
    async with service.vault.turn:
        found = await asyncio.to_thread(service.vault.reseal, record, old, new)
    if found is None:
        raise _wrong("The old passphrase is wrong")
    changed, key = found
    response = await call.run(SetMasterKey(sealed=changed, replace=True))
    if not service.vault.unlocked:
        service.unlock(key)
    return response


async def enter_passphrase(call: Call) -> Response:
    """Unlock the controller after a start."""
    passphrase: str = await call.body()
    service = call.api.service
    record = service.cluster.master_key
    if record is None:
        raise _wrong("There is no master passphrase to enter", "It was never created.")
    async with service.vault.turn:
        key = await asyncio.to_thread(service.vault.unseal, record, passphrase)
    if key is None:
        raise _wrong("The passphrase is wrong")
    if not service.vault.unlocked:
        service.unlock(key)
    done = Entry(
        Severity.SUCCESS,
        Operation.MODIFY,
        Subject.CONTROLLER,
        "The passphrase was accepted",
        code="PASSPHRASE_ACCEPTED",
    )
    return call.entries([answers.of_entry(done, call.about, call.now_ms)])


async def set_volume_passphrase(call: Call) -> Response:
    """Give an encrypted volume another passphrase, on all its nodes."""
    body: VolumePassphrase = await call.body()
    return await call.run(
        SetVolumePassphrase(
            definition=call.names["resource"],
            number=call.volume_number(),
            passphrase=body.new_passphrase or "",
        )
    )


def _checked(passphrase: str | None) -> str:
    if passphrase and len(passphrase) <= PASSPHRASE_MAX:
        return passphrase
    raise Invalid(
        Subject.PASSPHRASE,
        "new_passphrase",
        "This cannot be the master passphrase",
        cause=f"It has 1 to {PASSPHRASE_MAX} characters.",
        details="Nothing was changed.",
    )


def _exists(cause: str, verb: str) -> DomainError:
    return Exists(
        Subject.PASSPHRASE,
        "master passphrase",
        "The master passphrase cannot be set like this",
        cause=cause,
        details="Nothing was changed.",
        correction=f"Use 'bollard encryption {verb}-passphrase'.",
    )


def _wrong(message: str, cause: str = "") -> DomainError:
    return Conflict(
        Subject.PASSPHRASE,
        "master passphrase",
        message,
        cause=cause or "It does not open the master key.",
        details="Nothing was changed.",
        correction="Enter the passphrase that was set last.",
    )


_CHANGE: dict[str, Any] = {"act": Act.MODIFY, "noun": Noun.CTRL_CONF}

ROUTES = (
    Route(method="GET", path=_PATH, handler=show_status, answer=PassphraseStatus),
    Route(
        method="POST",
        path=_PATH,
        handler=create_passphrase,
        act=Act.CREATE,
        noun=Noun.CTRL_CONF,
        body=PassphraseCreate,
        status=201,
    ),
    Route(method="PUT", path=_PATH, handler=modify_passphrase, body=PassphraseCreate, **_CHANGE),
    Route(method="PATCH", path=_PATH, handler=enter_passphrase, body=str, **_CHANGE),
    Route(
        method="PUT",
        path=_VOLUME,
        handler=set_volume_passphrase,
        act=Act.MODIFY,
        noun=Noun.VLM_DFN,
        body=VolumePassphrase,
    ),
)
