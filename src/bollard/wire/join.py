"""Joining a cluster: the records of POST /v1/bollard/join. Pure. The token is a secret: never log these."""

import msgspec


class JoinRequest(msgspec.Struct, frozen=True):
    """From a satellite that has no certificate yet."""

    token: str
    """Works once, for one node, for a limited time."""
    node_name: str
    csr: str
    """PEM; only its public key and the proof that the sender has the private one are used."""


class Joined(msgspec.Struct, frozen=True):
    """The controller's answer."""

    node_name: str
    certificate: str
    """PEM; names the node."""
    ca: str
    """PEM of the cluster's certificate authority."""
