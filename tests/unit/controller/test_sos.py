"""The report for support: everything, but no secrets."""

import io
import json
import tarfile
from pathlib import Path

from bollard.controller import sos
from bollard.domain.access import AuthToken
from bollard.domain.encryption import MasterKey
from bollard.domain.files import ExternalFile
from bollard.domain.ids import GroupName, NodeName, ResourceName, Uuid
from bollard.domain.nodes import Node
from bollard.domain.resources import ControllerSettings, ResourceDefinition, VolumeDefinition

WORD = "hush-hush"
RECORDS = (
    ControllerSettings(Uuid("u"), {"Aux/plain": "shown", "StorDriver/RemoteSpdk/UserPassword": WORD}),
    Node(name=NodeName("n1"), uuid=Uuid("n"), props={"Aux/Secret": WORD}),
    ResourceDefinition(
        name=ResourceName("r"),
        uuid=Uuid("r"),
        group=GroupName("g"),
        drbd_secret=WORD,
        volumes=(
            VolumeDefinition(
                number=0, uuid=Uuid("v"), size_kib=4, sealed_passphrase=WORD, sealed_before=(WORD,)
            ),
        ),
    ),
    AuthToken(number=1, digest=WORD, description="shown too"),
    MasterKey(sealed=WORD, salt=WORD, cost=2, block_size=8, parallel=1, generation="G"),
    ExternalFile("/etc/x", WORD.encode()),
)


def test_the_dump_has_every_record_and_no_secret() -> None:
    found = json.loads(sos.dump(RECORDS, 7))
    assert found["revision"] == 7
    kinds = [record["kind"] for record in found["records"]]
    assert kinds == ["controller", "node", "definition", "token", "master-key", "file"]
    text = json.dumps(found)
    assert WORD not in text
    assert "aHVzaC1odXNo" not in text, "nor in base64"
    assert "shown" in text
    assert "shown too" in text
    assert found["records"][2]["drbd_secret"] == "<hidden>"


def test_reports_are_kept_private_and_few(tmp_path: Path) -> None:
    for second in range(8):
        now_ms = 1_800_000_000_000 + second * 1000
        name = sos.name_of(now_ms)
        packed = sos.pack(name, {"_CONTROLLER/info.json": b"{}", "n1/seen.json": b"[]"}, now_ms)
        path = sos.keep(str(tmp_path), name, packed)
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == "sos_2027-01-15_08-00-07.tar.gz"
    assert len(list((tmp_path / "sos").iterdir())) == sos.KEPT
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        assert sorted(archive.getnames()) == [f"{name}/_CONTROLLER/info.json", f"{name}/n1/seen.json"]
