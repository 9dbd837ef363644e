"""Classes that are cheap to import behave as those of attrs."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest

from actorsync import classes


@classes.frozen
class Point:
    x: int
    _y: int = attrs.field(default=0)
    note: str = attrs.field(default="", eq=False)
    secret: str = attrs.field(default="", repr=False, kw_only=True)
    shown: str = attrs.field(default="abc", repr=lambda text: text[:1], eq=False)


@classes.frozen(kw_only=True)
class Child(Point):
    z: int


@classes.define
class Box:
    content: object = None


@classes.define(eq=False)
class Actor:
    name: str
    unset: int = attrs.field(init=False)


@classes.frozen
class Empty:
    pass


@classes.frozen
class Own:
    x: int
    y: int

    def __repr__(self) -> str:
        return "own"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and other.x == self.x

    def __hash__(self) -> int:
        return self.x


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        (Point(1, 2), Point(1, 2), True),
        (Point(1, 2), Point(1, 3), False),
        (Point(1, 2, note="a"), Point(1, 2, note="b"), True),
        (Point(1, 2, secret="a"), Point(1, 2, secret="b"), False),
        (Point(1), Child(x=1, z=2), False),
        (Child(x=1, z=2), Child(x=1, z=2), True),
        (Child(x=1, z=2), Child(x=1, z=3), False),
        (Child(x=1, z=2), Child(x=2, z=2), False),
        (Box([1]), Box([1]), True),
        (Box([1]), Box([2]), False),
        (Actor("a"), Actor("a"), False),
        (Empty(), Empty(), True),
        (Own(1, 2), Own(1, 3), True),
        (Point(1), 1, False),
    ],
)
def test_objects_are_equal_if_their_class_and_compared_fields_are(one: Any, other: Any, is_equal: bool) -> None:
    for _ in range(2):  # the first comparison compiles the method, the second uses it
        assert (one == other, one != other) == (is_equal, not is_equal)


def test_hash_of_a_frozen_object_is_of_the_compared_fields() -> None:
    for _ in range(2):
        assert hash(Point(1, note="a")) == hash(Point(1, note="b"))
    assert {Point(1), Point(1), Point(2), Empty(), Empty(), Own(1, 2), Own(1, 3)} == {
        Point(1),
        Point(2),
        Empty(),
        Own(1, 2),
    }
    assert hash(Own(7, 1)) == 7


def test_object_that_can_change_has_a_hash_only_without_comparison() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Box())
    actor = Actor("a")
    assert {actor: 1}[actor] == 1


def test_frozen_object_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]


@pytest.mark.parametrize("thing", [Point(1, 2, "n", "a"), Child(x=1, z=2), Box([1]), Actor("a"), Empty(), Own(1, 2)])
def test_text_of_an_object_is_that_of_attrs(thing: Any) -> None:
    cls = type(thing)
    fields = {field.name: getattr(thing, field.name, attrs.NOTHING) for field in attrs.fields(cls)}
    if cls is Own:
        assert repr(thing) == "own"
        return
    twin = attrs.make_class(
        cls.__name__, {it.name: attrs.field(repr=it.repr, init=False) for it in attrs.fields(cls)}, slots=True
    )()
    for name, value in fields.items():
        if value is not attrs.NOTHING:
            setattr(twin, name, value)
    assert repr(thing) == repr(twin)


def test_text_of_an_object_that_contains_itself_ends() -> None:
    box = Box()
    box.content = [box]
    assert repr(box) == "Box(content=[...])"


def test_object_is_the_same_after_pickle_and_evolve() -> None:
    assert pickle.loads(pickle.dumps(Child(x=1, z=2))) == Child(x=1, z=2)
    assert attrs.evolve(Point(1, 2), x=3) == Point(3, 2)
    assert not hasattr(Point(1), "__dict__")
