"""The command line against a controller with three satellites: what it shows, and what it leaves."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bollard.cli.main import run
from bollard.cli.session import Session
from served_town import served

Cli = Callable[..., str]


@pytest.fixture(scope="module", name="port")
def _port() -> Iterator[int]:
    with served() as port:
        address = f"--controllers=127.0.0.1:{port}"
        for name, number in (("n1", 11), ("n2", 12), ("n3", 13)):
            assert run([address, "--disable-config", "node", "create", name, f"10.99.0.{number}"]) == 0
            words = ["storage-pool", "create", "filethin", name, "pthin", f"/srv/recorded/pools/{name}/thin"]
            assert run([address, "--disable-config", *words]) == 0
        yield port


@pytest.fixture(name="cli")
def _cli(port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    # Whoever runs the tests may name the width of a terminal: tables would be cut to it.
    monkeypatch.delenv("COLUMNS", raising=False)
    capsys.readouterr()

    def cli(line: str, *, code: int = 0, session: Session | None = None) -> str:
        words = [f"--controllers=127.0.0.1:{port}", "--disable-config", "--no-utf8", *line.split()]
        found = run(words, session)
        told = capsys.readouterr()
        assert found == code, told.out + told.err
        return told.out

    return cli


def read(cli: Cli, line: str) -> Any:
    (found,) = json.loads(cli("-m " + line))
    return found


def test_the_lists_of_a_volume(cli: Cli, tmp_path: Path) -> None:
    cli("rg c fast --place-count 2 -s pthin --providers file_thin")
    cli("vg c fast")
    told = cli("rg spawn fast data 16M --explain")
    assert "pthin" in told
    for line in (
        "n l",
        "sp l",
        "rg l",
        "rd l --ports",
        "vd l",
        "r l -a",
        "v l --hrep",
        "vg l fast",
        "n info -f",
    ):
        assert "+--" in cli(line + " -p"), line
    assert "Repl" in cli("v l")
    assert "n1" in cli("n dsc")
    saved = tmp_path / "resources.json"
    saved.write_text(cli("-m r l -a"))
    assert "data" in cli(f"r l -a --from-file {saved}")
    assert cli(f"r l -a --from-file {tmp_path}/none", code=2) == ""
    grouped = cli("r l -a -g node resourcename -s StorPoolName -p")
    assert "StorPoolName" in grouped
    nodes = [line.split("|")[2].strip() for line in grouped.splitlines() if "| data" in line]
    assert nodes == sorted(nodes)
    assert len(nodes) == 3
    cli("r l -g nothing", code=2)
    assert {one["rsc_name"] for one in read(cli, "--output-version v0 r l")["resource_states"]} == {"data"}
    assert "SyncTarget" not in cli("r l --faulty")
    cli("rd d data")
    cli("rg d fast")


def test_options_of_drbd_are_properties_and_units_are_counted(cli: Cli) -> None:
    cli("rd c opts")
    cli("rd opt opts --protocol A --c-max-rate 100M --handler-split-brain /bin/true --drbd-timeout 70")
    props = read(cli, "rd lp opts")
    assert props["DrbdOptions/Net/protocol"] == "A"
    assert props["DrbdOptions/PeerDevice/c-max-rate"] == str(100 * 1024)
    assert props["DrbdOptions/Handlers/split-brain"] == "/bin/true"
    assert props["DrbdOptions/Net/timeout"] == "70"
    cli("rd opt opts --unset-protocol")
    assert "DrbdOptions/Net/protocol" not in read(cli, "rd lp opts")
    cli("rd opt opts", code=2)
    cli("rd opt opts --protocol D", code=2)
    cli("c opt --max-buffers 4000")
    assert read(cli, "c lp")["DrbdOptions/Net/max-buffers"] == "4000"
    cli("c opt --unset-max-buffers")
    cli("nc popt n1 n2 --ping-int 12")
    assert "DrbdOptions/Net/ping-int=12" in cli("nc l")
    cli("nc popt n1 n2 --unset-ping-int")
    cli("rd d opts")


def test_paths_of_pairs(cli: Cli) -> None:
    cli("n i c n1 fast 10.98.0.11")
    cli("n i c n2 fast 10.98.0.12")
    cli("nc p c n1 n2 quick fast fast")
    assert read(cli, "nc p l n1 n2") == {"quick/n1": "fast", "quick/n2": "fast"}
    assert "quick" in cli("nc lp n1 n2")
    cli("nc p d n1 n2 quick")
    assert read(cli, "nc p l n1 n2") == {}


def test_creates_that_are_put_off_and_sent_as_one(cli: Cli) -> None:
    cli("r ct begin", code=5)
    session = Session()
    cli("rd c both")
    cli("vd c both 8M")
    cli("r ct begin", session=session)
    cli("r c n1 both -s pthin", session=session)
    cli("r c n2 both -s pthin", session=session)
    cli("n l", session=session, code=5)
    assert read(cli, "r l -r both") == []
    cli("r ct commit", session=session)
    assert sorted(one["node_name"] for one in read(cli, "r l -r both")) == ["n1", "n2", "n3"]
    cli("r ct begin", session=session)
    cli("r c n3 both --diskless", session=session)
    cli("r ct abort", session=session)
    assert not session.collecting
    cli("rd d both")


def test_advice(cli: Cli) -> None:
    cli("rd c lonely")
    cli("vd c lonely 8M")
    cli("r c n1 lonely -s pthin")
    (row,) = read(cli, "adv r -f single-replica")
    assert row["possible_fix"] == "bollard resource-definition auto-place --place-count 2 lonely"
    assert "lonely" in cli("adv m n1")
    assert read(cli, "adv m n2 -f single-replica") == []
    cli("rd d lonely")


def test_sizes_curl_completion_and_help(cli: Cli) -> None:
    assert "pthin" in cli("c qmvs 2")
    told = cli("--curl n evac n1 --target n2")
    assert told.startswith("curl -X PUT")
    assert "/v1/nodes/n1/evacuate" in told
    assert "n3" in cli("complete r c").split()
    assert "pthin" in cli("complete sp d n1").split()
    assert "usage: bollard node create" in cli("help node create")
    assert "controller which" in cli("list-commands")
    assert cli("c which").startswith("http://127.0.0.1")


def test_nodes_are_reconnected_and_not_evicted_while_they_are_there(cli: Cli) -> None:
    cli("n rc n1")
    assert "ONLINE" in cli("n l -n n1")
    cli("n rst n1", code=10)
    cli("r l -n nowhere", code=3)


def test_defaults_of_lists_come_from_files(
    cli: Cli, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ".config" / "bollard"
    folder.mkdir(parents=True)
    (folder / "client.conf").write_text('[node.list]\nshow-props = ["NodeUname"]\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    cli("n l")
    assert run([f"--controllers=127.0.0.1:{port}", "n", "l"]) == 0
    assert "NodeUname" in capsys.readouterr().out
    (folder / "client.conf").write_text('[node.list]\nnothing = ["x"]\n')
    assert run([f"--controllers=127.0.0.1:{port}", "n", "l"]) == 2
