from __future__ import annotations

from typing import Any

import pytest

from vango.errors import InvalidRequestError
from vango.gateway import Page

ENTRIES: list[dict[str, Any]] = [{"id": name} for name in "abcde"]


@pytest.mark.parametrize(
    ("page", "ids", "has_more"),
    [
        (Page(), "abcde", False),
        (Page(limit=2), "ab", True),
        (Page(limit=5), "abcde", False),
        (Page(limit=2, after_id="b"), "cd", True),
        (Page(limit=2, after_id="c"), "de", False),
        (Page(after_id="e"), "", False),
        (Page(limit=2, before_id="d"), "bc", True),
        (Page(before_id="a"), "", False),
    ],
)
def test_a_page_is_cut_as_anthropics_list_is(page: Page, ids: str, has_more: bool) -> None:
    data, more = page.cut(ENTRIES)

    assert "".join(entry["id"] for entry in data) == ids
    assert more is has_more


@pytest.mark.parametrize("param", ["after_id", "before_id"])
def test_a_page_beside_an_unknown_model_is_refused(param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Page(**{param: "z"}).cut(ENTRIES)

    assert caught.value.param == param
