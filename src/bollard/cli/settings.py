"""Global options: command line over environment over configuration files."""

import argparse
import configparser
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bollard.client.rest import DEFAULT_TIMEOUT_S

_FLAGS = (
    "no-color",
    "no-utf8",
    "warn-as-error",
    "curl",
    "machine-readable",
    "verbose",
    "pager",
    "allow-insecure-auth",
)
_VALUES = ("controllers", "output-version", "timeout", "certfile", "keyfile", "cafile")
_KEYS = ("auth-token", "auth-token-file")
_DIRECTORIES = (Path("/etc/bollard/client.d"), Path("/etc/linstor/linstor-client.d"))
_FILES = (
    Path("~/.config/bollard/client.conf"),
    Path("/etc/bollard/client.conf"),
    Path("~/.config/linstor/linstor-client.conf"),
    Path("/etc/linstor/linstor-client.conf"),
)


def add_global_options(parser: argparse.ArgumentParser) -> None:
    """The options that stand before the command."""
    parser.add_argument("--no-color", action="store_true", help="no colours")
    parser.add_argument("--no-utf8", action="store_true", help="ASCII table borders")
    parser.add_argument("--warn-as-error", action="store_true", help="exit code 10 when a reply has warnings")
    parser.add_argument("--curl", action="store_true", help="print the calls as curl commands, do nothing")
    parser.add_argument(
        "--controllers", metavar="LIST", help="HOST[:PORT] or URLs, tried in order (default localhost)"
    )
    parser.add_argument("-m", "--machine-readable", action="store_true", help="JSON output")
    parser.add_argument(
        "--output-version", choices=("v0", "v1"), default="v1", help="form of the JSON output"
    )
    parser.add_argument("-V", "--verbose", action="store_true", help="details too")
    parser.add_argument(
        "-t",
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help="seconds to wait for an answer",
    )
    parser.add_argument("--pager", action="store_true", help="long tables through the pager, page by page")
    parser.add_argument("--disable-config", action="store_true", help="ignore configuration files")
    parser.add_argument("--certfile", help="our certificate for HTTPS")
    parser.add_argument("--keyfile", help="its key")
    parser.add_argument("--cafile", help="authority that signed the controller's certificate")
    parser.add_argument(
        "--auth-token-file", metavar="FILE", help="API token, in a file that only its owner can read"
    )
    # Set by environment and configuration; on a command line everyone could read it.
    parser.add_argument("--auth-token", help=argparse.SUPPRESS)
    parser.add_argument(
        "--allow-insecure-auth", action="store_true", help="send the token to other machines without TLS"
    )


def with_defaults(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[str]:
    """The command line with what environment and files add put in front of it."""
    found: list[str] = []
    if "--disable-config" not in argv:
        found += _from_files()
    for name in (*_FLAGS, *_VALUES, *_KEYS):
        value = environ.get("LS_CLIENT_" + name.replace("-", "_").upper())
        if value is not None:
            found += _option(name, value)
    if "LS_OUTPUT_VERSION" in environ:
        found += ["--output-version", environ["LS_OUTPUT_VERSION"]]
    return [*found, *argv]


def controllers_of(given: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The comma list of controllers: what was given, then LS_CONTROLLERS, else this machine."""
    parts = [part for part in (given, environ.get("LS_CONTROLLERS")) if part]
    return ",".join(parts) or "localhost"


def add_list_defaults(options: argparse.Namespace) -> None:
    """To a list what the files say it should always show; what is typed comes after that."""
    section = getattr(options, "section", "")
    if not section or options.disable_config:
        return
    for name, value in list_defaults(section).items():
        if not hasattr(options, name):
            sys.exit(f"bollard: [{section}] {name}: this list has no such option")
        typed = getattr(options, name)
        if isinstance(value, list):
            setattr(options, name, [*value, *(typed or [])])
        elif typed in (None, False):
            setattr(options, name, value)


def list_defaults(section: str) -> dict[str, Any]:
    """Options of a list by the files' section for it, such as `resource.list`: values are JSON."""
    found: dict[str, Any] = {}
    for path, parser in _files():
        for name, text in parser.items(section) if parser.has_section(section) else ():
            try:
                found[name.replace("-", "_")] = msgspec.json.decode(text)
            except msgspec.DecodeError as error:
                sys.exit(f"bollard: {path}: [{section}] {name}: '{text}' is not JSON: {error}")
    return found


def _from_files() -> list[str]:
    return [
        word
        for _, parser in _files()
        if parser.has_section("global")
        for name, value in parser.items("global")
        for word in _option(name, value)
    ]


def _files() -> Iterator[tuple[Path, configparser.ConfigParser]]:
    paths = [
        path for directory in _DIRECTORIES if directory.is_dir() for path in sorted(directory.glob("*.conf"))
    ]
    paths += [path for path in (candidate.expanduser() for candidate in _FILES) if path.is_file()][:1]
    for path in paths:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, configparser.Error, UnicodeDecodeError) as error:
            sys.exit(f"bollard: cannot read {path}: {error}")
        yield path, parser


def _option(name: str, value: str) -> list[str]:
    if name in _FLAGS:
        return [f"--{name}"] if value.strip().lower() in {"1", "yes", "true", "on", ""} else []
    return [f"--{name}={value}"]
