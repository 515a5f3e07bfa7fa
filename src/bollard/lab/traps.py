"""Programs of a node that stop at a chosen call: to cut power there, to kill who called, to play a hung tool.

Wrappers in a folder that comes first where satellites look for programs; no satellite knows of them.
"""

from collections.abc import Callable
from typing import Final, Literal

from bollard.lab.programs import LabError

__all__ = ["Traps"]

_PLACE: Final = "/usr/local/sbin"
_FOLDER: Final = "/run/lab-traps"
_WRAPPER: Final = """#!/bin/sh
name=${0##*/}
held=
for trap in /run/lab-traps/*.trap; do
    [ -e "$trap" ] || continue
    { read -r tool; read -r when; read -r left; read -r word; } <"$trap"
    [ "$tool" = "$name" ] || continue
    case " $* " in *"$word"*) ;; *) continue ;; esac
    if [ "$left" -gt 1 ]; then
        printf '%s\\n%s\\n%s\\n%s\\n' "$tool" "$when" $((left - 1)) "$word" >"$trap"
        continue
    fi
    held=$trap
    break
done
hold() {
    mv "$held" "${held%.trap}.held" && while [ -e "${held%.trap}.held" ]; do sleep 1; done
}
code=0
[ -z "$held" ] || [ "$when" = after ] || hold
[ -n "$held" ] || exec REAL "$@"
REAL "$@" || code=$?
[ "$when" != after ] || hold
exit $code
"""


class Traps:
    """Of one node. They are lost with its power, the wrappers are not."""

    def __init__(self, execute: Callable[..., str]) -> None:
        """`execute` runs a command in the node and raises LabError when it fails."""
        self._execute = execute

    def lay(self, *programs: str) -> None:
        """Wrap these programs, which are there already."""
        for program in programs:
            where = self._execute("sh", "-c", f"PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v {program}")
            text = _WRAPPER.replace("REAL", where.strip())
            self._execute("@write", f"{_PLACE}/{program}", "755", stdin=text.encode())
        self._execute("mkdir", "-p", _FOLDER)

    def remove(self, *programs: str) -> None:
        """Take the wrappers away again."""
        for program in programs:
            self._execute("@remove", f"{_PLACE}/{program}")

    def arm(
        self, name: str, program: str, word: str, *, when: Literal["before", "after"], call: int = 1
    ) -> None:
        """Let the `call`th call with this word in its arguments wait, before or after its work."""
        self._execute("mkdir", "-p", _FOLDER)
        text = f"{program}\n{when}\n{call}\n{word}\n"
        self._execute("@write", f"{_FOLDER}/{name}.trap", "644", stdin=text.encode())

    def held(self) -> set[str]:
        """The traps in which a call waits now."""
        return {one.removesuffix(".held") for one in self._there() if one.endswith(".held")}

    def release(self, *names: str) -> None:
        """Let calls go on, or disarm what nobody fell into; all without names."""
        for one in self._there():
            if not names or one.rpartition(".")[0] in names:
                self._execute("rm", "-f", f"{_FOLDER}/{one}")

    def _there(self) -> list[str]:
        try:
            return self._execute("@list", _FOLDER).split()
        except LabError:
            return []
