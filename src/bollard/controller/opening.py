"""Opening the vault without a person: where a passphrase may come from. Says nothing of what it is."""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from bollard.controller.config import Config
from bollard.controller.service import Service

CREDENTIAL = "master_passphrase"
_log = logging.getLogger(__name__)


def passphrase_of(config: Config, environ: Mapping[str, str] = os.environ) -> str:
    """From the configuration file, the environment, or a systemd credential; empty: from nowhere."""
    if config.encrypt.passphrase:
        return config.encrypt.passphrase
    if environ.get("MASTER_PASSPHRASE"):
        return environ["MASTER_PASSPHRASE"]
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return ""
    try:
        return Path(folder, CREDENTIAL).read_text("utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError):
        return ""


async def open_vault(service: Service, passphrase: str) -> bool:
    """Unlock a controller that has just started; whether it is open. A wrong passphrase leaves it locked."""
    record = service.cluster.master_key
    if record is None:
        return False
    key = await asyncio.to_thread(service.vault.unseal, record, passphrase) if passphrase else None
    if key is not None:
        service.unlock(key)
        _log.info("encrypted volumes are open")
        return True
    reason = "the passphrase that was given is wrong" if passphrase else "no passphrase was given"
    _log.warning("encrypted volumes stay closed: %s; enter it with 'bollard encryption ep'", reason)
    return False
