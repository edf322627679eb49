"""Every error of the tree has a status of its own, and every failure one shape."""

from __future__ import annotations

import inspect
import logging

import orjson
import pytest

from recsys import errors
from recsys.errors import EventFault, InvalidEventsError, InvalidRequestError, RecsysError
from serving.web.failures import FAILURES, respond_to


def tree(root: type[RecsysError]) -> list[type[RecsysError]]:
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


TREE = [cls for cls in tree(RecsysError) if cls.__module__ == errors.__name__]


def example(cls: type[RecsysError]) -> RecsysError:
    if cls is InvalidEventsError:
        return cls([EventFault(0, "e-1", "future", "it is in the future")])
    if cls is InvalidRequestError:
        return cls("placements.0.k", "0 is out of bounds")
    if cls is errors.SchemaError:
        return cls([], 0)
    return cls("it failed")


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_is_mapped(cls: type[RecsysError]) -> None:
    assert cls in FAILURES, f"say in serving/web/failures.py how {cls.__name__} is told"


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_failure_has_one_shape(cls: type[RecsysError], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    response = respond_to(example(cls))
    assert response.status_code == FAILURES[cls].status
    body = orjson.loads(response.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["code"] == FAILURES[cls].code
    assert (response.headers.get("retry-after") is not None) == (response.status_code in (429, 503))


def test_the_table_names_no_error_that_is_gone() -> None:
    assert set(FAILURES) == set(TREE)


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = inspect.getdoc(errors) or ""
    for cls in TREE:
        assert cls.__name__ in drawn, f"draw {cls.__name__} in the docstring of recsys/errors.py"
