# ruff: noqa: INP001  # a program, not a package
"""Writes docs/reference/properties.md from the catalogue of properties: properties.py [--check]."""

import pathlib
import sys
from collections.abc import Iterable

from bollard.domain.catalogue.kinds import Kind, Property, describe
from bollard.domain.catalogue.without_effect import WITHOUT_EFFECT
from bollard.domain.props import CATALOGUE, READ_ONLY_KEYS
from bollard.replica.protocol.config import OPTION_NAMES

TARGET = pathlib.Path(__file__).parent.parent / "docs" / "reference" / "properties.md"
SECTIONS = ("Disk", "Handlers", "Net", "PeerDevice", "Resource")
PLACES = {
    "c": "controller",
    "n": "node",
    "nc": "node connection",
    "r": "resource",
    "rc": "resource connection",
    "rd": "resource definition",
    "sp": "storage pool",
    "spd": "pool definition",
    "v": "volume",
    "vd": "volume definition",
}
HEAD = """# Properties

This page is made from the catalogue (`python generate/properties.py`). Keys, values and defaults are
LINSTOR's; those below `Bollard/` are additions. `bollard OBJECT set-property` sets one, without a value it
goes. What is set on a resource group holds for its definitions, and the object nearest to the volume wins.
Keys below `Aux/` are yours.

"""
IDLE = """## Without effect in this release

These are taken, kept and shown, so that scripts which set them go on working, and nothing follows from them:
"""
DRBD = """## Options of DRBD

The kernel's DRBD heeds all of them. The last column says whether the user-space data process does; it takes
the others and goes on without them. [What needs saying of some](data-process.md#options).
"""


def section_of(key: str) -> str:
    """`Net` of `DrbdOptions/Net/protocol`; empty for a key that is no option of DRBD."""
    root, _, rest = key.partition("/")
    word = rest.partition("/")[0]
    return word if root == "DrbdOptions" and word in SECTIONS else ""


def table(rows: Iterable[Property], *, drbd: bool) -> str:
    """One line a property."""
    more = " Data process |" if drbd else ""
    lines = [f"| Property | Set on | Values | Default |{more}", f"|---|---|---|---|{'---|' if drbd else ''}"]
    for row in sorted(rows, key=lambda one: one.key.lower()):
        places = ", ".join(PLACES[word] for word in row.scopes.split() if word in PLACES)
        places = "the cluster itself" if row.key in READ_ONLY_KEYS else places
        values = f"text that matches `{row.values}`" if row.kind is Kind.REGEX else describe(row)
        values = values.replace("|", "\\|")
        default = f"`{row.default}`" if row.default else ""
        line = f"| `{row.key}` | {places} | {values} | {default} |"
        if drbd:
            line += " yes |" if row.key.rpartition("/")[2] in OPTION_NAMES else " |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def rendered() -> str:
    """The page as it is committed."""
    plain = [one for one in CATALOGUE.values() if not section_of(one.key) and one.key not in WITHOUT_EFFECT]
    parts = [HEAD, table(plain, drbd=False), "\n", DRBD]
    for section in SECTIONS:
        rows = [one for one in CATALOGUE.values() if section_of(one.key) == section]
        if rows:
            parts.append(f"\n### {section}\n\n{table(rows, drbd=True)}")
    idle = "\n".join(f"- `{key}`" for key in sorted(WITHOUT_EFFECT, key=str.lower))
    return "".join([*parts, f"\n{IDLE}\n{idle}\n"])


def main(arguments: list[str]) -> int:
    """Write the page, or with --check only compare; 1 when it differs."""
    if "--check" in arguments:
        same = TARGET.exists() and TARGET.read_text() == rendered()
        sys.stdout.write("properties.md is up to date\n" if same else "properties.md differs from the code\n")
        return int(not same)
    TARGET.write_text(rendered())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
