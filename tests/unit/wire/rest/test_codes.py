"""Return codes: the numbers that clients know, and how they are put together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.wire.rest import codes
from bollard.wire.rest.codes import Act, Mask, Noun

TABLES = {
    Mask.SUCCESS: codes.SUCCESS,
    Mask.INFO: codes.INFO,
    Mask.WARN: codes.WARN,
    Mask.ERROR: codes.FAIL,
}


@pytest.mark.parametrize(
    ("severity", "code", "act", "noun", "number"),
    [
        (Mask.SUCCESS, "CREATED", Act.CREATE, Noun.RSC_DFN, 20447233),
        (Mask.ERROR, "EXISTS_RSC_DFN", Act.CREATE, Noun.RSC_DFN, -4611686018406940171),
        (Mask.WARN, "NOT_FOUND", Act.DELETE, Noun.RSC_DFN, -9223372036800771144),
        (Mask.ERROR, "UNKNOWN_ERROR", Act.NONE, Noun.NONE, -4611686018427386906),
        (Mask.WARN, "NOT_CONNECTED", Act.NONE, Noun.NONE, -9223372036854774806),
    ],
)
def test_numbers_are_those_that_clients_know(
    severity: Mask, code: str, act: Act, noun: Noun, number: int
) -> None:
    assert codes.ret_code(severity, code, act, noun) == number


@given(data=st.data(), severity=st.sampled_from(Mask), act=st.sampled_from(Act), noun=st.sampled_from(Noun))
def test_parts_come_back_out(data: st.DataObject, severity: Mask, act: Act, noun: Noun) -> None:
    code = data.draw(st.sampled_from(sorted(TABLES[severity])))
    number = codes.ret_code(severity, code, act, noun)
    assert -(2**63) <= number < 2**63
    assert codes.severity_of(number) is severity
    assert codes.code_of(number) == TABLES[severity][code]
    assert (number < 0) is (severity in {Mask.WARN, Mask.ERROR})
    assert codes.is_error(number) is (severity is Mask.ERROR)


def test_codes_fit_their_bits_and_errors_are_distinct() -> None:
    assert all(0 <= number <= codes.MASK_CODE for table in TABLES.values() for number in table.values())
    assert len(set(codes.FAIL.values())) == len(codes.FAIL)
    assert len(set(codes.WARN.values())) == len(codes.WARN)


def test_an_unknown_code_is_an_error_of_ours() -> None:
    with pytest.raises(KeyError):
        codes.ret_code(Mask.WARN, "EXISTS_RSC_DFN")


def test_the_parse_error_is_an_error() -> None:
    assert codes.is_error(codes.PARSE_ERROR)
