"""The master key: what is stored opens with the passphrase only, and seals for one place only."""

import msgspec
import pytest

from bollard.controller.vault import MasterVault

COST = 1 << 8


def made(passphrase: str = "secret") -> tuple[MasterVault, object, bytes]:
    vault = MasterVault(COST)
    record, key = vault.create(passphrase)
    vault.take(key)
    return vault, record, key


def test_a_sealed_secret_opens_with_its_label_and_key_only() -> None:
    vault, _, _ = made()
    sealed = vault.seal("pass phrase ä", "volume 1")
    assert "pass" not in sealed
    assert vault.open(sealed, "volume 1") == "pass phrase ä"
    assert vault.open(sealed, "volume 2") is None
    assert vault.open("", "volume 1") is None
    assert vault.open("!!!", "volume 1") is None
    other, _, _ = made()
    assert other.open(sealed, "volume 1") is None
    assert vault.seal("same", "x") != vault.seal("same", "x")


def test_the_passphrase_and_no_other_opens() -> None:
    vault, record, key = made("secret")
    assert vault.unseal(record, "secret") == key  # type: ignore[arg-type]
    for wrong in ("", "Secret", "secret ", "secre"):
        assert vault.unseal(record, wrong) is None  # type: ignore[arg-type]


def test_a_new_passphrase_keeps_the_key() -> None:
    vault, record, key = made("old")
    assert vault.reseal(record, "wrong", "new") is None  # type: ignore[arg-type]
    found = vault.reseal(record, "old", "new")  # type: ignore[arg-type]
    assert found is not None
    changed, same = found
    assert same == key
    assert changed.generation == record.generation  # type: ignore[attr-defined]
    assert vault.unseal(changed, "new") == key
    assert vault.unseal(changed, "old") is None


@pytest.mark.parametrize(
    "damage",
    [
        {"cost": 3},
        {"cost": 1 << 40},
        {"cost": 0},
        {"salt": "!"},
        {"sealed": "AAAA"},
        {"generation": "0" * 16},
    ],
)
def test_a_damaged_record_opens_nothing_and_costs_little(damage: dict[str, object]) -> None:
    vault, record, _ = made()
    broken = msgspec.structs.replace(record, **damage)  # type: ignore[type-var]
    assert vault.unseal(broken, "secret") is None  # type: ignore[arg-type]


def test_a_fresh_vault_is_locked() -> None:
    assert not MasterVault(COST).unlocked
    vault, _, _ = made()
    assert vault.unlocked
