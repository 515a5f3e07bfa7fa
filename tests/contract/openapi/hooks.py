"""What schemathesis is told about the API: which names are there, and what a refusal looks like.

Runs in schemathesis' own environment, so it must not import Bollard.
"""

import typing

import schemathesis

NAMES = {
    "node": ("n1", "n2", "n3"),
    "node_a": ("n1", "n2"),
    "node_b": ("n2", "n3"),
    "fromnode": ("n1", "n2", "n3"),
    "resource": ("r1", "r2"),
    "resource_group": ("g1", "DfltRscGrp"),
    "storagepool": ("pthin",),
    "volume_number": ("0", "1"),
    "netinterface": ("default",),
    "snapshot": ("s1",),
}
WITHOUT_ROUTE = {404, 405}
UNKNOWN, INTERNAL = 998, 999
"""Of the low half of a return code; the first also stands for a path that is none of the API."""


@schemathesis.hook
def map_path_parameters(
    context: typing.Any, path_parameters: dict[str, typing.Any] | None
) -> dict[str, typing.Any] | None:
    """Mostly names that are there, so that more than refusals for what is not is seen."""
    for name, drawn in (path_parameters or {}).items():
        known = (*NAMES.get(name, ()), drawn)
        assert path_parameters is not None
        path_parameters[name] = known[sum(map(ord, str(drawn))) % len(known)]
    return path_parameters


@schemathesis.check
def refusals_are_explained(context: typing.Any, response: typing.Any, case: typing.Any) -> None:
    """Whatever is refused is refused on purpose: with entries that say why, and no failure inside."""
    if response.status_code < 400:
        return
    refusal = response.json()
    entries = refusal["messages"] if isinstance(refusal, dict) else refusal
    assert isinstance(entries, list), entries
    assert entries, "an empty list"
    for entry in entries:
        assert entry["message"], entry
        assert not entry.get("error_report_ids"), entry
        code = entry["ret_code"] & 0xFFFF
        assert code != INTERNAL, entry
        assert code != UNKNOWN or response.status_code in WITHOUT_ROUTE, entry
