"""The NBD server against clients that others wrote: nbdinfo, nbdcopy, qemu-io, qemu-img and fio."""

import json
import random
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from replica_serving import Serving, certificate, serving

pytestmark = pytest.mark.tool


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*argv: str, cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, 64 << 20) as served:
        yield served


def test_nbdinfo_understands_every_answer(where: Serving, tmp_path: Path) -> None:
    info = json.loads(run(tool("nbdinfo"), "--json", where.uri(), cwd=tmp_path))
    export = info["exports"][0]
    assert export["export-size"] == 64 << 20
    assert export["contexts"] == ["base:allocation"]
    assert all(
        export[f"can_{what}"] for what in ("flush", "fua", "trim", "zero", "multi_conn", "cache", "df")
    )
    uri = f"nbd+unix:///?socket={where.unix.removeprefix('unix:')}"
    listed = json.loads(run(tool("nbdinfo"), "--list", "--json", uri, cwd=tmp_path))
    assert [one["export-name"] for one in listed["exports"]] == ["vol/0"]


def test_nbdcopy_in_and_out_keeps_every_byte_and_holes_stay_holes(where: Serving, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    data = random.Random(1).randbytes(5 << 20) + bytes(20 << 20) + random.Random(2).randbytes(3 << 20)
    source.write_bytes(data)
    run(tool("nbdcopy"), "--flush", str(source), where.uri(), cwd=tmp_path)
    run(tool("nbdcopy"), where.uri(), str(back), cwd=tmp_path)
    assert back.read_bytes()[: len(data)] == data
    extents = json.loads(run(tool("nbdinfo"), "--map", "--json", where.uri(), cwd=tmp_path))
    assert sum(part["length"] for part in extents if part["type"] == 3) >= 40 << 20


def test_qemu_io_patterns_zeroes_discard(where: Serving, tmp_path: Path) -> None:
    commands = [
        "write -P 17 4096 65536", "read -P 17 4096 65536", "write -f -P 18 512 512", "read -P 18 512 512",
        "write -z 0 1M", "read -P 0 0 1M", "write -z -u 1M 1M", "discard 2M 1M", "flush",
        "aio_write -P 19 3M 8M", "aio_flush", "read -P 19 3M 8M",
    ]  # fmt: skip
    argv = [part for command in commands for part in ("-c", command)]
    out = run(tool("qemu-io"), "-f", "raw", *argv, where.uri(), cwd=tmp_path)
    assert "failed" not in out.lower()


def test_qemu_img_converts_onto_the_volume_and_compares(where: Serving, tmp_path: Path) -> None:
    source = tmp_path / "source.raw"
    source.write_bytes(random.Random(4).randbytes(8 << 20) + bytes(56 << 20))
    run(tool("qemu-img"), "convert", "-n", "-f", "raw", "-O", "raw", str(source), where.uri(), cwd=tmp_path)
    same = run(tool("qemu-img"), "compare", "-f", "raw", "-F", "raw", str(source), where.uri(), cwd=tmp_path)
    assert "identical" in same


def test_fio_verifies_what_it_wrote_at_depth(where: Serving, tmp_path: Path) -> None:
    fio = tool("fio")
    if "nbd" not in run(fio, "--enghelp", cwd=tmp_path).split():
        pytest.skip("this fio has no nbd engine")
    out = run(
        fio, "--name=v", "--ioengine=nbd", f"--uri={where.uri()}", "--rw=randwrite", "--bsrange=512-128k",
        "--bs_unaligned=0", "--iodepth=32", "--size=64M", "--io_size=32M", "--verify=crc32c", "--do_verify=1",
        "--fsync=50", "--output-format=json", cwd=tmp_path,
    )  # fmt: skip
    job = json.loads(out[out.index("{") :])["jobs"][0]
    assert job["error"] == 0
    assert job["write"]["io_bytes"] >= 32 << 20


def test_nbdcopy_over_tls(tmp_path: Path) -> None:
    nbdcopy = tool("nbdcopy")
    cert_file, key_file = certificate(tmp_path)
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    shutil.copy(cert_file, trusted / "ca-cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(random.Random(5).randbytes(16 << 20))
    with serving(tmp_path, 16 << 20, tls=context) as served:
        uri = f"nbds://{served.tcp}/vol/0?tls-certificates={trusted}"
        run(nbdcopy, "--flush", str(source), uri, cwd=tmp_path)
        run(nbdcopy, uri, str(back), cwd=tmp_path)
    assert back.read_bytes() == source.read_bytes()
