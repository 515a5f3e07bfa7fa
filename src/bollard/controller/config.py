"""Settings of the controller: flags over the TOML file over defaults. Reads the file, starts nothing."""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bollard.domain.access import GIVEN_SCOPES

CONFIG_PATH: Final = Path("/etc/bollard/controller.toml")
STATE_PATH: Final = Path("/var/lib/bollard/controller")
AUDITS: Final = ("file", "journal", "off")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


class ConfigError(Exception):
    """A setting is wrong; the sentence names it and what it may be."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The root of all sections: a misspelt key is an error."""


class Http(_Section, frozen=True):
    """Section [http]: the REST API."""

    listen: str = "127.0.0.1"
    port: int = 3370
    open: bool = False
    """Whether callers from other machines are let in, on this and on [https]: the network must protect it."""


class Https(_Section, frozen=True):
    """Section [https]: the same API under TLS, with the controller's certificate."""

    enabled: bool = False
    listen: str = ""
    """Empty: as for [http]."""
    port: int = 3371
    redirect: bool = True
    """Whether the plain port only says where this one is, but for what is open to everyone."""


class Database(_Section, frozen=True):
    """Section [database]."""

    url: str = ""
    """Empty: SQLite in the state directory; else memory: or a DSN, postgresql://... (may hold a password)."""


class Link(_Section, frozen=True):
    """Section [link]: towards satellites."""

    insecure_plain: bool = False
    """Whether links without TLS may leave this machine."""


class Limits(_Section, frozen=True):
    """Section [limits]: of the REST API, for each token and certificate. This machine itself has none."""

    calls_per_s: float = 1000.0
    burst: int = 5000
    body_bytes: int = 8 * 1024 * 1024


class AuditLog(_Section, frozen=True):
    """Section [audit]: who changed what."""

    to: str = "file"
    """file, journal or off."""
    path: str = ""
    """Empty: `audit.jsonl` in the state directory."""
    file_bytes: int = 16 * 1024 * 1024
    keep: int = 5
    """Older files that stay."""


class Encrypt(_Section, frozen=True):
    """Section [encrypt]: opening encrypted volumes after a start without a person."""

    passphrase: str = ""
    """Secret. Empty: MASTER_PASSPHRASE, or the systemd credential of that name in small letters."""


class Logging(_Section, frozen=True):
    """Section [logging]."""

    level: str = "INFO"


class Config(_Section, frozen=True):
    """The whole file."""

    state_dir: str = str(STATE_PATH)
    pki_dir: str = ""
    """Empty: `pki` in the state directory."""
    http: Http = Http()
    https: Https = Https()
    database: Database = Database()
    link: Link = Link()
    logging: Logging = Logging()
    limits: Limits = Limits()
    audit: AuditLog = AuditLog()
    encrypt: Encrypt = Encrypt()

    @property
    def state(self) -> Path:
        """The state directory."""
        return Path(self.state_dir)

    @property
    def pki(self) -> Path:
        """The folder of keys and certificates."""
        return Path(self.pki_dir) if self.pki_dir else self.state / "pki"


def parser() -> argparse.ArgumentParser:
    """The command line: `[run] [flags]`, `ca init`, `token create`."""
    top = argparse.ArgumentParser(
        prog="bollard-controller",
        description="The controller of a Bollard cluster. Without a command it runs the controller.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _add_run_flags(commands.add_parser("run", help="run the controller (the default)", allow_abbrev=False))
    ca = commands.add_parser("ca", help="the cluster's certificate authority", allow_abbrev=False)
    ca_verbs = ca.add_subparsers(dest="verb", required=True, metavar="VERB")
    init = ca_verbs.add_parser("init", help="make the authority and the controller's certificate")
    init.add_argument("--host", action="append", default=[], help="a name or address of this controller")
    _add_place_flags(init)
    client = ca_verbs.add_parser("client", help="print a key and a certificate for the API")
    client.add_argument("--name", required=True, help="who it is for: it stands in the audit log")
    client.add_argument("--scope", choices=[scope.value for scope in GIVEN_SCOPES], default="operator")
    client.add_argument("--days", type=int, default=365)
    _add_place_flags(client)
    revoke = ca_verbs.add_parser("revoke", help="let a client's certificate open nothing any more")
    revoke.add_argument("serial", help="its serial number, hexadecimal")
    _add_place_flags(revoke)
    auth = commands.add_parser("auth", help="tokens of the API", allow_abbrev=False)
    auth_verbs = auth.add_subparsers(dest="verb", required=True, metavar="VERB")
    disable = auth_verbs.add_parser(
        "disable", help="demand tokens no more; the controller must be stopped, its machine is let in again"
    )
    _add_place_flags(disable)
    token = commands.add_parser("token", help="tokens with which nodes join", allow_abbrev=False)
    token_verbs = token.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = token_verbs.add_parser("create", help="print a token that works once")
    create.add_argument("--node", required=True, help="the node that may join with it")
    create.add_argument("--ttl", default="1h", help="how long it works: 30m, 2h, 1d or seconds (default 1h)")
    _add_place_flags(create)
    return top


def _add_place_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--config", "-c", type=Path, help=f"TOML file (default {CONFIG_PATH}, if it is there)")
    flags.add_argument("--state-dir", help=f"state directory (default {STATE_PATH})")
    flags.add_argument("--pki-dir", help="keys and certificates (default: pki in the state directory)")


def _add_run_flags(flags: argparse.ArgumentParser) -> None:
    _add_place_flags(flags)
    flags.add_argument("--rest-bind", metavar="ADDRESS[:PORT]", help="the API (default 127.0.0.1:3370)")
    flags.add_argument("--rest-bind-secure", metavar="ADDRESS[:PORT]", help="the API under TLS (default off)")
    flags.add_argument(
        "--open-api", action="store_true", help="let callers from other machines in (default: joining only)"
    )
    flags.add_argument("--database", metavar="URL", help="memory: or a PostgreSQL DSN without a password")
    flags.add_argument("--memory-database", action="store_true", help="keep nothing over a restart")
    flags.add_argument(
        "--insecure-plain",
        action="store_true",
        default=None,
        help="allow links without TLS to other machines",
    )
    flags.add_argument("--log-level", type=str.upper, choices=LOG_LEVELS, help="default INFO")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line; flags without a command mean `run`."""
    words = list(argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    return parser().parse_args(words)


def settle(flags: argparse.Namespace) -> Config:
    """The settings: flags over the file over defaults. Raises ConfigError."""
    config = load(flags.config) if flags.config is not None else load(CONFIG_PATH, may_lack=True)
    replace = msgspec.structs.replace
    if flags.state_dir:
        config = replace(config, state_dir=flags.state_dir)
    if flags.pki_dir:
        config = replace(config, pki_dir=flags.pki_dir)
    if flags.command == "run":
        if flags.rest_bind:
            listen, port = address(flags.rest_bind, config.http.port)
            config = replace(config, http=replace(config.http, listen=listen, port=port))
        if flags.open_api:
            config = replace(config, http=replace(config.http, open=True))
        if flags.rest_bind_secure:
            listen, port = address(flags.rest_bind_secure, config.https.port)
            config = replace(config, https=replace(config.https, enabled=True, listen=listen, port=port))
        url = "memory:" if flags.memory_database else flags.database
        if url:
            if urlsplit(url).password or "password=" in url:
                raise ConfigError(
                    "--database must not hold a password: every user of this machine could read it. "
                    "Put the DSN into the configuration file, or the password into ~/.pgpass."
                )
            config = replace(config, database=Database(url=url))
        if flags.insecure_plain:
            config = replace(config, link=Link(insecure_plain=True))
        if flags.log_level:
            config = replace(config, logging=Logging(level=flags.log_level))
    return _checked(config)


def load(path: Path, *, may_lack: bool = False) -> Config:
    """The settings of a file. Raises ConfigError."""
    try:
        return _checked(msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Config))
    except FileNotFoundError:
        if may_lack:
            return Config()
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def address(text: str, port: int) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`. Raises ConfigError."""
    try:
        parts = urlsplit(f"//{text}")
        found = parts.port
    except ValueError:
        raise ConfigError(f"'{text}' is no address: expected ADDRESS or ADDRESS:PORT") from None
    if not parts.hostname or parts.path or parts.username:
        raise ConfigError(f"'{text}' is no address: expected ADDRESS or ADDRESS:PORT")
    return parts.hostname, port if found is None else found


def duration_s(text: str) -> int:
    """Seconds of `90`, `30m`, `2h` or `1d`. Raises ConfigError."""
    units: dict[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    if not number.isdecimal():
        raise ConfigError(f"'{text}' is no time: expected seconds, or a number with s, m, h or d")
    return int(number) * unit


def _checked(config: Config) -> Config:
    wrong: list[Any] = []
    for name, port in (("http.port", config.http.port), ("https.port", config.https.port)):
        if not 0 <= port <= 65535:
            wrong.append(f"{name} is {port}; it may be 0 to 65535")
    if config.logging.level.upper() not in LOG_LEVELS:
        wrong.append(f"logging.level is '{config.logging.level}'; it may be {', '.join(LOG_LEVELS)}")
    if config.audit.to not in AUDITS:
        wrong.append(f"audit.to is '{config.audit.to}'; it may be {', '.join(AUDITS)}")
    for name, number in (
        ("limits.calls_per_s", config.limits.calls_per_s),
        ("limits.burst", config.limits.burst),
        ("limits.body_bytes", config.limits.body_bytes),
        ("audit.file_bytes", config.audit.file_bytes),
        ("audit.keep", config.audit.keep),
    ):
        if number < 1:
            wrong.append(f"{name} is {number}; it must be 1 or more")
    if not config.state_dir:
        wrong.append("state_dir is empty")
    url = config.database.url
    if url and url != "memory:" and not url.startswith(("postgresql://", "postgres://")):
        wrong.append("database.url is neither empty, nor memory:, nor a DSN postgresql://...")
    if wrong:
        raise ConfigError("; ".join(wrong))
    return config
