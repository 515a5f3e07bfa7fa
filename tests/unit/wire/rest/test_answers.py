"""Entries of answers: made of what was done, for the request it was done for."""

import msgspec

from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.errors import Exists, Subject
from bollard.wire.rest import answers, codes
from bollard.wire.rest.answers import About
from bollard.wire.rest.codes import Act, Mask, Noun

ABOUT = About(Act.CREATE, Noun.RSC, {"RscDfn": "r1"})


def test_a_success_says_what_was_done() -> None:
    entry = Entry(Severity.SUCCESS, Operation.DELETE, Subject.VOLUME, "gone", refs={"Node": "n1"})
    rc = answers.of_entry(entry, ABOUT, 0)
    assert rc.ret_code == codes.ret_code(Mask.SUCCESS, "DELETED", Act.DELETE, Noun.VLM)
    assert rc.obj_refs == {"RscDfn": "r1", "Node": "n1"}
    assert rc.created_at == "1970-01-01T00:00:00+00:00"


def test_an_entry_without_operation_takes_the_request_s() -> None:
    entry = Entry(Severity.INFO, Operation.NONE, Subject.REQUEST, "set", code="PROP_SET")
    rc = answers.of_entry(entry, ABOUT, 0)
    assert rc.ret_code == codes.ret_code(Mask.INFO, "PROP_SET", Act.CREATE, Noun.RSC)


def test_a_request_may_keep_its_operation() -> None:
    entry = Entry(Severity.SUCCESS, Operation.DELETE, Subject.GROUP, "gone")
    rc = answers.of_entry(entry, About(Act.CREATE, Noun.RSC_GRP, keep_act=True), 0)
    assert rc.ret_code == codes.ret_code(Mask.SUCCESS, "DELETED", Act.CREATE, Noun.RSC_GRP)


def test_what_is_empty_is_left_out() -> None:
    error = Exists(Subject.RESOURCE_DEFINITION, "r1", "There is a definition 'r1'")
    rc = answers.of_error(error, "EXISTS_RSC_DFN", ABOUT, 0)
    assert msgspec.to_builtins(rc).keys() == {"ret_code", "message", "obj_refs", "created_at"}
