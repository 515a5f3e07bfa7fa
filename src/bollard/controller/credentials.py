"""The commands that make credentials without a running controller: `ca init` and `token create`."""

import argparse
import sys

from bollard.controller.clock import RealClock, RealDraw
from bollard.controller.config import Config, duration_s
from bollard.controller.pki import Pki


def ca_init(config: Config, flags: argparse.Namespace) -> None:
    fingerprint = Pki(config.pki).init(RealClock().now_ms(), flags.host)
    sys.stdout.write(
        f"The certificate authority is in {config.pki}; SHA-256 {fingerprint}.\n"
        "Restart the controller, then join each node:\n"
        "  bollard-controller token create --node NAME\n"
    )


def token_create(config: Config, flags: argparse.Namespace) -> None:
    ttl_s = duration_s(flags.ttl)
    draw = RealDraw()
    secret = draw.secret() + draw.secret()
    token = Pki(config.pki).create_token(flags.node, ttl_s, RealClock().now_ms(), secret)
    sys.stdout.write(token + "\n")
