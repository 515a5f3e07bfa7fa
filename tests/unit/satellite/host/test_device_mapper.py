"""What dmsetup and blkid print, read into values; others' devices are left out."""

from bollard.satellite.host import device_mapper, signatures
from bollard.satellite.host.device_mapper import DmDevice
from bollard.satellite.host.signatures import Signature

_INFO = "vg-lv\t253\t0\t0\tActive\nLinstor-Crypt-r_00000\t253\t1\t1\tActive\npieces\t253\t2\t0\tSuspended\n"
_TABLES = """vg-lv: 0 8192 linear 8:0 2048
Linstor-Crypt-r_00000: 0 229376 crypt aes-xts-plain64 0000000000 0 253:0 32768 1 allow_discards
pieces: 0 8192 linear 8:0 2048
pieces: 8192 8192 linear 8:16 2048
"""


def test_devices_are_joined_with_their_tables() -> None:
    plain, crypt = device_mapper.parse(_INFO, _TABLES)
    assert plain == DmDevice("vg-lv", "253:0", 8192, "linear", ("8:0", "2048"))
    assert (crypt.target, crypt.users, crypt.size_kib) == ("crypt", 1, 114688)
    assert crypt.words[3] == "253:0"
    assert crypt.path == "/dev/mapper/Linstor-Crypt-r_00000"


def test_no_devices_are_no_devices() -> None:
    assert device_mapper.parse("No devices found\n", "No devices found\n") == ()


def test_a_table_is_one_line() -> None:
    assert device_mapper.table(8, "linear", "/dev/sda", "0") == "0 8 linear /dev/sda 0"


def test_a_signature_is_a_file_system_or_a_partition_table() -> None:
    assert signatures.parse("DEVNAME=/dev/x\nUUID=a-b\nTYPE=ext4\n") == Signature("ext4", "a-b")
    assert signatures.parse("DEVNAME=/dev/x\nPTUUID=1\nPTTYPE=gpt\n") == Signature("gpt")
    assert signatures.parse("") is None


def test_the_refusal_says_what_is_there_and_how_to_clear_it() -> None:
    refusal = signatures.has_data("/dev/x", Signature("ext4", "a-b"), "data")
    assert "ext4 with UUID a-b" in refusal.cause
    assert "wipefs" in refusal.correction
