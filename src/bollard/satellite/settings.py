"""Arguments and the TOML file of `bollard-satellite`, checked: what the rest may rely on."""

import argparse
import ipaddress
import platform
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from bollard.domain.errors import Invalid
from bollard.domain.ids import node_name
from bollard.wire.link import PORT_PLAIN, PORT_TLS

__all__ = ["Settings", "SettingsError", "parse"]

DEFAULT_STATE: Final = "/var/lib/bollard/satellite"
DEFAULT_DRBD_DIR: Final = "/var/lib/bollard/drbd.d"
DEFAULT_VOLUMES: Final = "/run/bollard/volumes"
DEFAULT_LINKS: Final = "/dev/drbd/by-res"
DEFAULT_TOKEN: Final = "/var/lib/linstor.d/auth.json"  # noqa: S105  # a path; CloudStack looks there
_KEYS: Final = {
    "node_name": str,
    "bind": str,
    "port": int,
    "state_dir": str,
    "insecure_plain": bool,
    "attach_replica": bool,
    "drbd_dir": str,
    "load_modules": bool,
    "volumes": str,
    "links": str,
    "log_level": str,
    "allow_ext_files": list,
    "token_path": str,
}


class SettingsError(Exception):
    """An argument or a line of the configuration that cannot be used; the sentence says what to write."""


class Settings(msgspec.Struct, frozen=True):
    """Of one satellite."""

    node_name: str
    state_dir: Path
    bind: str | None = None
    port: int | None = None
    insecure_plain: bool = False
    attach_replica: bool = False
    drbd_dir: str = DEFAULT_DRBD_DIR
    """Of the resource files for the kernel's DRBD."""
    load_modules: bool = False
    """Load kernel modules that are there and not loaded."""
    volumes: str = ""
    """Where a data process that the satellite starts shows its volumes as files; empty: nowhere."""
    links: str = ""
    """The folder of paths by resource and volume number to block devices; empty: none are made."""
    log_level: str = "info"
    allow_ext_files: tuple[str, ...] = ()
    """Folders in which external files may be written."""
    token_path: Path = Path(DEFAULT_TOKEN)
    """Where this node's token for the API is kept, for programs of root."""
    config: Path | None = None
    """The file that was read."""
    joining: bool = False
    leaving: bool = False
    controller: str = ""
    token: str = ""
    ca: Path | None = None

    def listen_at(self, *, tls: bool) -> tuple[str, int]:
        """Address and port. Raises SettingsError for plain on an address that others can reach."""
        bind = self.bind or ("0.0.0.0" if tls else "127.0.0.1")  # TLS checks who comes
        if not tls and not self.insecure_plain and not _loopback(bind):
            raise SettingsError(
                f"a plain link on {bind} would be open to everyone. Run 'bollard-satellite join' for TLS, "
                "bind a loopback address, or say --insecure-plain."
            )
        return bind, self.port if self.port is not None else (PORT_TLS if tls else PORT_PLAIN)


def parse(argv: list[str]) -> Settings:
    """Arguments over the TOML file over defaults. Raises SettingsError; argparse exits by itself."""
    arguments = {key: value for key, value in vars(_parser().parse_args(argv)).items() if value is not None}
    read = Path(arguments.pop("config")) if "config" in arguments else None
    values: dict[str, Any] = _file(read) if read is not None else {}
    values |= arguments | {"config": read}
    command = values.pop("command", "")
    values["state_dir"] = Path(values.get("state_dir", DEFAULT_STATE))
    try:
        values["node_name"] = node_name(values.get("node_name") or platform.node())
    except Invalid as error:
        raise SettingsError(f"{error.message}: {error.cause}") from error
    token = _token(values)
    values["allow_ext_files"] = _folders(values.get("allow_ext_files", ()))
    values["token_path"] = Path(values.get("token_path", DEFAULT_TOKEN))
    if values["state_dir"] == Path(DEFAULT_STATE):
        # Others are tests and second satellites on one machine: they say what they may use of it.
        values = {"volumes": DEFAULT_VOLUMES, "links": DEFAULT_LINKS} | values
    if not 0 <= values.get("port", 0) < 1 << 16:
        raise SettingsError(f"{values['port']} is no port: 0 to 65535")
    return Settings(**values | {"token": token, "joining": command == "join", "leaving": command == "leave"})


def _folders(given: Iterable[Any]) -> tuple[str, ...]:
    folders = tuple(given)
    for folder in folders:
        if not isinstance(folder, str) or not folder.startswith("/"):
            raise SettingsError(f"allow_ext_files: '{folder}' is not an absolute path of a folder")
    return folders


def _token(values: dict[str, Any]) -> str:
    token_file = values.pop("token_file", None)
    if token_file is None:
        return str(values.pop("token", ""))
    try:
        return Path(token_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the token file {token_file} cannot be read: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bollard-satellite", description="The node's part of Bollard: it does what the controller wants."
    )
    _shared(parser)
    parser.add_argument("--bind", metavar="ADDRESS", help="default: loopback; every address with TLS")
    parser.add_argument("--port", type=int, help=f"default: {PORT_PLAIN} plain, {PORT_TLS} with TLS")
    parser.add_argument(
        "--insecure-plain", action="store_true", default=None, help="allow a plain link beyond loopback"
    )
    parser.add_argument(
        "--attach-replica",
        action="store_true",
        default=None,
        help="never start the data process, only use it",
    )
    parser.add_argument(
        "--drbd-dir", metavar="DIR", help=f"resource files for the kernel's DRBD; default: {DEFAULT_DRBD_DIR}"
    )
    parser.add_argument(
        "--load-modules", action="store_true", default=None, help="load kernel modules that are not loaded"
    )
    parser.add_argument(
        "--volumes",
        metavar="DIR",
        help="where a data process that this starts shows volumes as files, which become block devices; "
        f"default: {DEFAULT_VOLUMES}, nowhere with another state folder",
    )
    parser.add_argument(
        "--links",
        metavar="DIR",
        help="folder of paths RESOURCE/NUMBER to those block devices; "
        f"default: {DEFAULT_LINKS}, none with another state folder",
    )
    parser.add_argument(
        "--allow-ext-files",
        action="append",
        metavar="DIR",
        help="a folder in which external files may be written; repeatable",
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    join = commands.add_parser("join", help="get this node's certificate from the controller")
    _shared(join)
    join.add_argument("--controller", metavar="URL", required=True)
    token = join.add_mutually_exclusive_group(required=True)
    token.add_argument("--token", help="single-use; --token-file keeps it out of the process list")
    token.add_argument("--token-file", metavar="FILE")
    join.add_argument("--ca", type=Path, metavar="FILE", help="the cluster's CA, for an https controller")
    _shared(commands.add_parser("leave", help="forget the cluster, so that another controller may connect"))
    return parser


def _shared(parser: argparse.ArgumentParser) -> None:
    suppress = argparse.SUPPRESS
    parser.add_argument("--node-name", default=suppress, metavar="NAME", help="default: the host's name")
    parser.add_argument("--state-dir", default=suppress, metavar="DIR", help=f"default: {DEFAULT_STATE}")
    parser.add_argument("--config", default=suppress, metavar="TOML", help="the same settings as a file")


def _file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the configuration {path} cannot be read: {error}") from error
    for key, value in values.items():
        if key not in _KEYS:
            raise SettingsError(f"{path}: '{key}' is not a setting; there are: {', '.join(sorted(_KEYS))}")
        if type(value) is not _KEYS[key]:
            raise SettingsError(f"{path}: '{key}' must be of type {_KEYS[key].__name__}")
    return values


def _loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
