"""The commands that make credentials without a running controller: `ca init` and `token create`."""

import argparse
import sys

import msgspec

from bollard.controller.config import Config, ConfigError, duration_s
from bollard.controller.pki import Pki
from bollard.controller.store.base import Store
from bollard.domain import props
from bollard.domain.access import Scope
from bollard.domain.cluster import Put
from bollard.domain.resources import ControllerSettings
from bollard.runtime.clock import RealClock, RealDraw


def ca_init(config: Config, flags: argparse.Namespace) -> None:
    fingerprint = Pki(config.pki).init(RealClock().now_ms(), flags.host)
    sys.stdout.write(
        f"The certificate authority is in {config.pki}; SHA-256 {fingerprint}.\n"
        "Restart the controller, then join each node:\n"
        "  bollard-controller token create --node NAME\n"
    )


def client_create(config: Config, flags: argparse.Namespace) -> None:
    """Print a key and a certificate for a person or a program that uses the API."""
    pem = Pki(config.pki).create_client(flags.name, Scope(flags.scope), flags.days, RealClock().now_ms())
    sys.stdout.write(pem.decode())


def client_revoke(config: Config, flags: argparse.Namespace) -> None:
    """Let a client's certificate open nothing any more; a running controller knows at once."""
    try:
        serial = int(flags.serial.replace(":", ""), 16)
    except ValueError:
        raise ConfigError(f"'{flags.serial}' is not a serial number in hexadecimal") from None
    Pki(config.pki).revoke_client(serial)
    sys.stdout.write(f"The certificate {serial:x} opens nothing any more.\n")


async def auth_disable(store: Store) -> None:
    """Take back that tokens are demanded, in the database of a stopped controller. Raises DomainError."""
    await store.open()
    try:
        loaded = await store.load()
        for record in loaded.records:
            if isinstance(record, ControllerSettings) and props.TOKEN_AUTH.truth(record.props):
                own = {key: value for key, value in record.props.items() if key != props.TOKEN_AUTH.key}
                changed = msgspec.structs.replace(record, props=own)
                await store.commit([Put(changed)], loaded.revision)
                sys.stdout.write("Tokens are demanded no more; only this machine is let in.\n")
                return
        sys.stdout.write("Tokens were not demanded; nothing was changed.\n")
    finally:
        await store.close()


def token_create(config: Config, flags: argparse.Namespace) -> None:
    ttl_s = duration_s(flags.ttl)
    draw = RealDraw()
    secret = draw.secret() + draw.secret()
    token = Pki(config.pki).create_token(flags.node, ttl_s, RealClock().now_ms(), secret)
    sys.stdout.write(token + "\n")
