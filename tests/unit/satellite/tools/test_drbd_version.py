"""Which DRBD a node has, from texts that real nodes gave."""

import pytest

from bollard.domain.layers import ReplicationKind
from bollard.satellite.tools.drbd_version import (
    kernel_version,
    kind_of,
    option_names,
    utils_suffice,
    utils_version,
)

PROC_84 = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 059B1B470318F053F5077D5 \n"
PROC_9 = "version: 9.3.3 (api:2/proto:118-124)\nTransports (api:21): tcp (9.3.3)\n"
UTILS = "DRBDADM_API_VERSION=2\nDRBD_KERNEL_VERSION=0\nDRBDADM_VERSION=9.22.0\n"


@pytest.mark.parametrize(
    ("text", "version", "kind"),
    [
        (PROC_84, "8.4.11", ReplicationKind.DRBD84),
        (PROC_9, "9.3.3", ReplicationKind.DRBD9),
        ("8.4.11\n", "8.4.11", ReplicationKind.DRBD84),
        ("8.3.16\n", "8.3.16", None),
        ("", "", None),
        ("modinfo: ERROR: Module drbd not found.\n", "", None),
    ],
)
def test_the_module(text: str, version: str, kind: ReplicationKind | None) -> None:
    assert kernel_version(text) == version
    assert kind_of(version) is kind


def test_the_tools() -> None:
    assert utils_version(UTILS) == "9.22.0"
    assert utils_version("") == ""
    assert utils_suffice("9.22.0")
    assert not utils_suffice("8.9.10")
    assert not utils_suffice("")


def test_options_of_a_command() -> None:
    xml = '<command name="new-peer">\n\t<option name="transport" type="string">\n\t</option>\n'
    xml += '\t<option name="ping-int" type="numeric">\n\t</option>\n</command>\n'
    assert option_names(xml) == {"transport", "ping-int"}
