"""The table of errors: every family with every subject has a code that exists, and a status that fits it."""

import itertools

import pytest

from bollard.controller.rest import errors
from bollard.domain.errors import (
    Denied,
    DomainError,
    Exhausted,
    Exists,
    InUse,
    Invalid,
    NotFound,
    Subject,
    Unavailable,
)
from bollard.wire.rest import codes
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.codes import Mask


def made(family: type[DomainError], subject: Subject) -> DomainError:
    return family(subject, "x", "It went wrong")


@pytest.mark.parametrize(
    ("family", "subject"),
    list(itertools.product(errors.FAMILIES, Subject)),
    ids=lambda part: part.family if isinstance(part, type) else part.name,
)
def test_every_error_has_a_code(family: type[DomainError], subject: Subject) -> None:
    code = errors.code_for(made(family, subject))
    assert code in codes.FAIL
    status = errors.status_for(codes.ret_code(Mask.ERROR, code))
    if family is NotFound:
        assert status == 404
    elif family is Denied:
        assert status == 403
    elif family is not Invalid:
        assert status == 500, code


def test_every_family_is_in_the_table() -> None:
    families = {
        family for family in DomainError.__subclasses__() if family.__module__ == DomainError.__module__
    }
    assert set(errors.FAMILIES) == families


def test_a_family_of_nobody_is_unknown() -> None:
    assert errors.code_for(made(DomainError, Subject.NODE)) == "UNKNOWN_ERROR"


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (made(Exists, Subject.RESOURCE_DEFINITION), "EXISTS_RSC_DFN", 500),
        (made(Exists, Subject.VOLUME_DEFINITION), "EXISTS_VLM_DFN", 500),
        (made(Exists, Subject.GROUP), "EXISTS_RSC_GRP", 500),
        (made(Exists, Subject.RESOURCE), "EXISTS_RSC", 500),
        (made(Exhausted, Subject.PLACEMENT), "NOT_ENOUGH_NODES", 500),
        (made(InUse, Subject.RESOURCE), "IN_USE", 500),
        (made(NotFound, Subject.NODE), "NOT_FOUND_NODE", 404),
        (made(NotFound, Subject.RESOURCE_DEFINITION), "NOT_FOUND_RSC_DFN", 404),
        (made(Invalid, Subject.PROPERTY), "INVLD_PROP", 500),
        (made(Unavailable, Subject.SATELLITE_CONNECTION), "NOT_CONNECTED", 500),
        (made(Denied, Subject.REQUEST), "ACC_DENIED_COMMAND", 403),
    ],
)
def test_what_clients_branch_on(error: DomainError, code: str, status: int) -> None:
    assert errors.code_for(error) == code
    assert errors.status_for(codes.ret_code(Mask.ERROR, code)) == status


def test_signing_in_has_statuses_of_its_own() -> None:
    assert errors.status_for(codes.ret_code(Mask.ERROR, "SIGN_IN")) == 403
    assert errors.status_for(codes.ret_code(Mask.ERROR, "SIGN_IN_MISSING_CREDENTIALS")) == 401
    assert errors.status_for(codes.PARSE_ERROR) == 400


def test_the_first_error_decides_and_warnings_do_not() -> None:
    warning = ApiCallRc(codes.ret_code(Mask.WARN, "NOT_CONNECTED"), "w")
    missing = ApiCallRc(codes.ret_code(Mask.ERROR, "NOT_FOUND_NODE"), "m")
    broken = ApiCallRc(codes.ret_code(Mask.ERROR, "UNKNOWN_ERROR"), "b")
    assert errors.status_of([warning], 201) == 201
    assert errors.status_of([warning, missing, broken], 201) == 404
    assert errors.status_of([], 200) == 200
