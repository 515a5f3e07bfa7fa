"""Events from pictures: applying them to the old picture gives the new one."""

from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.changes import Picture, changes

KEYS = st.tuples(
    st.sampled_from(["resource", "device"]),
    st.sampled_from([(("name", "a"),), (("name", "a"), ("volume", "0"))]),
)
PICTURES = st.dictionaries(
    KEYS, st.dictionaries(st.sampled_from(["role", "disk"]), st.sampled_from(["x", "y"]), min_size=2)
)


@given(PICTURES, PICTURES)
def test_applied_to_the_old_picture_they_give_the_new_one(old: Picture, new: Picture) -> None:
    made = {key: dict(fields) for key, fields in old.items()}
    for action, kind, fields in changes(old, new):
        identity = tuple((name, fields[name]) for name in ("name", "volume") if name in fields)
        rest = {name: value for name, value in fields.items() if name not in {"name", "volume"}}
        match action:
            case "create":
                assert (kind, identity) not in made
                made[kind, identity] = rest
            case "change":
                assert rest, "a change says what changed"
                made[kind, identity].update(rest)
            case _:
                assert action == "destroy"
                del made[kind, identity]
    assert made == new


@given(PICTURES)
def test_nothing_changes_nothing(picture: Picture) -> None:
    assert list(changes(picture, picture)) == []
