"""From a configured resource to the core's records, and from the core's answers to refusals. Pure."""

from bollard.replica.protocol import actions as a
from bollard.replica.protocol.config import ConfigError, Options, PeerConfig, VolumeConfig, parse_options
from bollard.replica.trouble import Trouble
from bollard.wire.engine import ErrorCode, PeerSpec, ResourceSpec, VolumeSpec

__all__ = [
    "checked_options",
    "option_items",
    "peer_config",
    "refuse_new_place",
    "same_place",
    "trouble_of",
    "volume_config",
]


def same_place(one: VolumeSpec, other: VolumeSpec) -> bool:
    """Whether a volume keeps its storage and its name in views."""
    return (one.backing, one.meta, one.minor) == (other.backing, other.meta, other.minor)


def refuse_new_place(here: ResourceSpec, there: ResourceSpec, openers: dict[int, int]) -> None:
    """Raises Trouble when a running resource cannot change from `here` to `there`."""
    if (here.node_id, here.address, here.port) != (there.node_id, there.address, there.port):
        raise Trouble(
            ErrorCode.CONFLICT,
            f"resource {here.name} cannot change its own node id, address or port while it runs",
            f"it runs as node {here.node_id} on {here.address}:{here.port}",
            "remove it and configure it again; its data stays",
        )
    wanted = {volume.number: volume for volume in there.volumes}
    for volume in here.volumes:
        now = wanted.get(volume.number)
        opened = openers.get(volume.number, 0)
        if opened and (now is None or not same_place(now, volume)):
            raise Trouble(
                ErrorCode.BUSY,
                f"volume {here.name}/{volume.number} is in use",
                f"{opened} NBD client(s) have it open",
                "disconnect the clients first",
            )


def volume_config(volume: VolumeSpec) -> VolumeConfig:
    return VolumeConfig(
        number=volume.number,
        minor=volume.minor,
        size_bytes=volume.size_bytes,
        diskless=volume.backing is None,
        backing_name=volume.backing or "",
        options=tuple(sorted(volume.options.items())),
    )


def peer_config(spec: ResourceSpec, peer: PeerSpec) -> PeerConfig:
    return PeerConfig(
        node_id=peer.node_id,
        name=peer.name,
        diskless=peer.diskless,
        local_address=f"{peer.paths[0].address if peer.paths else spec.address}:{spec.port}",
        address=f"{peer.paths[0].peer_address if peer.paths else peer.address}:{peer.port}",
    )


def option_items(spec: ResourceSpec) -> tuple[tuple[str, str], ...]:
    """The options of the core by name, the secret among them; a secret alone means CRAM with SHA-256."""
    options = dict(spec.options)
    if spec.shared_secret:
        options["shared-secret"] = spec.shared_secret
        options.setdefault("cram-hmac-alg", "sha256")
    return tuple(sorted(options.items()))


def checked_options(spec: ResourceSpec) -> Options:
    """The options of a resource. Raises Trouble when one of them, or of its volumes', cannot be."""
    try:
        for volume in spec.volumes:
            volume_config(volume)
        return parse_options(option_items(spec))
    except ConfigError as error:
        raise Trouble(
            ErrorCode.INVALID,
            f"resource {spec.name} has an option that cannot be",
            str(error),
            "correct the option and configure again",
        ) from error


def trouble_of(name: str, answer: a.Answer) -> Trouble | None:
    """The refusal in an answer, or None."""
    if answer.code is a.Code.OK:
        return None
    code = ErrorCode(answer.code.value)
    cause = f"DRBD's code {answer.number}" if answer.number else ""
    return Trouble(code, f"resource {name}: {answer.message}", cause)
