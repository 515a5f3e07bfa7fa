"""LINSTOR's own Python client, unmodified, against the API over HTTP. Skipped where it is not installed."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from served_town import served
from unit.controller.test_app import running

linstor = pytest.importorskip(
    "linstor", reason="python-linstor is not installed (pip install python-linstor)"
)
pytestmark = pytest.mark.tool


@pytest.fixture
def client() -> Iterator[Any]:
    with served() as port:
        client = linstor.Linstor(f"linstor://127.0.0.1:{port}")
        client.connect()
        yield client
        client.disconnect()


def done(replies: Any) -> None:
    """Nothing in the replies is an error."""
    errors = [str(reply) for reply in replies if hasattr(reply, "is_error") and reply.is_error()]
    assert not errors, errors


def test_the_life_of_a_volume(client: Any) -> None:
    for number in (1, 2, 3):
        done(client.node_create(f"n{number}", "satellite", f"10.99.0.1{number}"))
        folder = f"/srv/recorded/pools/n{number}/thin"
        done(client.storage_pool_create(f"n{number}", "pthin", linstor.StoragePoolDriver.FILEThin, folder))
    done(client.resource_group_create("g1", description="d", place_count=2, storage_pool=["pthin"]))
    done(client.volume_group_create("g1"))
    done(client.resource_group_spawn("g1", "r1", ["100M"]))
    resources = client.resource_list_raise().resources
    assert {each.node_name for each in resources} == {"n1", "n2", "n3"}
    volumes = client.volume_list_raise().resources
    states = sorted(volume.state.disk_state for each in volumes for volume in each.volumes)
    assert states == ["Diskless", "UpToDate", "UpToDate"]
    done(client.resource_group_qmvs("g1"))
    done(client.resource_make_available("n3", "r1"))
    done(client.volume_dfn_modify("r1", 0, size=204800))
    done(client.resource_dfn_modify("r1", {"Aux/a": "b", "DrbdOptions/Net/protocol": "C"}))
    done(client.resource_dfn_modify("r1", {}, ["Aux/a"]))
    done(client.resource_conn_modify("r1", "n1", "n2", {"DrbdOptions/Net/allow-two-primaries": "yes"}, []))
    done(client.resource_dfn_delete("r1"))
    done(client.resource_group_delete("g1"))
    done(client.storage_pool_delete("n1", "pthin"))
    done(client.node_delete("n3"))


def test_snapshots_and_clones(client: Any) -> None:
    for number in (1, 2, 3):
        done(client.node_create(f"n{number}", "satellite", f"10.99.0.1{number}"))
        folder = f"/srv/recorded/pools/n{number}/thin"
        done(client.storage_pool_create(f"n{number}", "pthin", linstor.StoragePoolDriver.FILEThin, folder))
    done(client.resource_group_create("g1", place_count=2, storage_pool=["pthin"]))
    done(client.volume_group_create("g1"))
    for name in ("r1", "r2"):
        done(client.resource_group_spawn("g1", name, ["100M"]))
    done(client.snapshot_create([], "r1", "s1"))
    done(client.snapshot_create_multi([], ["r1", "r2"], "m1"))
    (snapshot,) = client.snapshot_dfn_list_raise(filter_by_resources=["r2"]).snapshots
    assert (snapshot.name, len(snapshot.nodes), snapshot.flags) == ("m1", 2, ["SUCCESSFUL"])
    done(client.snapshot_dfn_modify("r1", "s1", {"Aux/a": "b"}))
    done(client.resource_dfn_create("copy"))
    done(client.snapshot_volume_definition_restore("r1", "s1", "copy"))
    done(client.snapshot_resource_restore([], "r1", "s1", "copy"))
    done(client.snapshot_rollback("r1", "s1"))
    started = client.resource_dfn_clone("r1", "twin")
    assert started.clone_name == "twin"
    assert client.resource_dfn_clone_wait_complete("r1", "twin", wait_interval=0.1, timeout=60)
    done(client.snapshot_delete("r2", "m1"))
    done(client.resource_dfn_delete("copy"))
    assert {one.name for one in client.snapshot_dfn_list_raise().snapshots} == {"s1", "m1"}


READS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("nodes", lambda client: client.node_list()),
    ("pools", lambda client: client.storage_pool_list()),
    ("pool definitions", lambda client: client.storage_pool_dfn_list()),
    ("definitions", lambda client: client.resource_dfn_list(True)),
    ("resources", lambda client: client.resource_list()),
    ("volumes", lambda client: client.volume_list()),
    ("groups", lambda client: client.resource_group_list_raise().resource_groups),
    ("snapshots", lambda client: client.snapshot_dfn_list()),
    ("key-value stores", lambda client: client.keyvaluestores()),
    ("error reports", lambda client: client.error_report_list()),
    ("devices", lambda client: client.physical_storage_list()),
    ("remotes", lambda client: client.remote_list()),
    ("schedules", lambda client: client.schedule_list()),
    ("files", lambda client: client.file_list()),
    ("backup queue", lambda client: client.backup_queue_list()),
    ("properties", lambda client: client.controller_props()),
    ("passphrase", lambda client: client.crypt_status()),
    ("counts", lambda client: client.stats()),
)


def test_every_list_is_understood(client: Any) -> None:
    for name, read in READS:
        found = read(client)
        assert found is not None, name
        done(found if isinstance(found, list) else [found])


def test_files_are_kept_attached_and_removed(client: Any) -> None:
    done(client.resource_dfn_create("withfile"))
    done(client.file_modify("/etc/drbd.d/extra.conf", b"options {}\n"))
    assert client.file_show("/etc/drbd.d/extra.conf").files.content == "b3B0aW9ucyB7fQo="
    done(client.file_deploy("/etc/drbd.d/extra.conf", "withfile"))
    (found,) = (it for it in client.resource_dfn_list(False)[0].resource_definitions if it.name == "withfile")
    assert any("extra.conf" in key for key in found.properties)
    done(client.file_undeploy("/etc/drbd.d/extra.conf", "withfile"))
    done(client.file_delete("/etc/drbd.d/extra.conf"))
    assert client.file_list()[0].files == []


def test_the_passphrase_is_set_entered_and_changed(client: Any) -> None:
    done(client.crypt_create_passphrase("one"))
    assert client.crypt_status()[0].status == "unlocked"
    done(client.crypt_modify_passphrase("one", "two"))
    done(client.crypt_enter_passphrase("two"))
    assert client.crypt_enter_passphrase("one")[0].is_error()
    done(client.resource_dfn_create("secret", layer_list=["luks", "storage"]))
    done(client.volume_dfn_create("secret", 40960))
    done(client.volume_dfn_modify_passphrase("secret", 0, "of the volume"))


def test_reports_for_support_are_made_and_fetched(client: Any, tmp_path: Path) -> None:
    made = client.sos_report_create()
    done(made)
    assert made[0].object_refs["path"].endswith(".tar.gz")
    done(client.sos_report_download(to_file=str(tmp_path / "sos.tar.gz")))
    assert tarfile.is_tarfile(tmp_path / "sos.tar.gz")
    done(client.error_report_delete(ids=["00000000-00000-000000"]))


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS:DeprecationWarning")
def test_a_redirect_to_https_is_followed(tmp_path: Path) -> None:
    (tmp_path / "ctl.toml").write_text("[https]\nport = 0\n")
    with running(tmp_path / "ctl", "--config", str(tmp_path / "ctl.toml")) as controller:
        first = linstor.Linstor(f"linstor://127.0.0.1:{controller.port}")
        first.connect()
        made = first.controller_init_auth_token("first")
        done(made)
        client = linstor.Linstor(
            f"linstor://127.0.0.1:{controller.port}", auth_token=made[0].object_refs["token"]
        )
        client.connect()
        assert client.node_list_raise().nodes == []
        client.disconnect()
        assert controller.end() == 0


def test_tokens_are_made_listed_changed_and_revoked() -> None:
    with served() as port:
        client = linstor.Linstor(f"linstor://127.0.0.1:{port}")
        client.connect()
        made = client.controller_init_auth_token("first", no_https=True)
        done(made)
        token = made[0].object_refs["token"]
        with pytest.raises(linstor.LinstorError):
            client.node_list_raise()
        known = linstor.Linstor(f"linstor://127.0.0.1:{port}", auth_token=token)
        known.allow_insecure = True
        known.connect()
        done(known.node_list())
        done(known.controller_create_auth_token("second", expires_at="2099-01-01"))
        done(known.controller_modify_auth_token(2, description="renamed", is_active=False))
        done(known.controller_delete_auth_token(2))
        listed = known.controller_list_auth_tokens()[0]
        assert [(it.id, it.description, it.is_active) for it in listed.auth_tokens] == [
            (1, "first", True),
            (2, "renamed", False),
        ]
