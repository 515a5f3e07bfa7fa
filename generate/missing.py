# ruff: noqa: INP001  # a program, not a package
"""Writes docs/reference/missing.md from the table of what is not served: missing.py [--check]."""

import itertools
import pathlib
import sys

from bollard.controller.rest.missing import TABLE

TARGET = pathlib.Path(__file__).parent.parent / "docs" / "reference" / "missing.md"
HEAD = """# What of LINSTOR's API is not there

This page is made from the routes (`python generate/missing.py`). A call that needs a capability that is not
there is refused with status 500 and an ApiCallRc that names the capability and what to do meanwhile; a
question about such things is answered as LINSTOR answers it when there are none.

"""


def rendered() -> str:
    """The page as it is committed."""
    by_name = sorted(TABLE, key=lambda item: item.capability.name)
    parts = [HEAD]
    for name, items in itertools.groupby(by_name, key=lambda item: item.capability.name):
        found = list(items)
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n")
        parts.append(f"Meanwhile: {found[0].capability.meanwhile}\n\n")
        parts.append("| Method | Path | Answer |\n|---|---|---|\n")
        for item in sorted(found, key=lambda item: (item.path, item.method)):
            answer = "refused" if item.empty is None else "none there"
            parts.append(f"| {item.method} | `{item.path}` | {answer} |\n")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or with --check only compare; 1 when it differs."""
    if "--check" in arguments:
        same = TARGET.exists() and TARGET.read_text() == rendered()
        sys.stdout.write("missing.md is up to date\n" if same else "missing.md differs from the code\n")
        return int(not same)
    TARGET.write_text(rendered())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
