"""Canonical JSON is RFC 8785's, whichever encoder made it."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.domain import canonical

text = st.text(st.characters(exclude_categories=["Cs"]))
scalar = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | text
values = st.recursive(
    scalar | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=12,
)


@given(values)
def test_both_encoders_write_the_same_bytes(value: Any) -> None:
    assert canonical.dumps(value) == rfc8785.dumps(value)


@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), scalar))
def test_the_short_cut_is_the_standard(value: dict[str, Any]) -> None:
    assert canonical.dumps(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -(2**53), [2**60]])
def test_what_json_can_not_say_is_refused(value: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical.dumps(value)
