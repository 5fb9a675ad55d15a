"""Names and selections of heads."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammar.errors import InputError
from synth.heads import head_name, parse_head, parse_heads


@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 8)), min_size=1))
def test_heads_by_name(selected: set[tuple[int, int]]) -> None:
    names = ",".join(head_name(*place) for place in selected)
    assert parse_heads(names, 12, 9) == sorted(selected)
    assert parse_heads(f"{names}, {names}", 12, 9) == sorted(selected)


@given(st.text(alphabet="LH0123456789-, allx", max_size=20))
def test_any_text_selects_heads_or_is_refused(text: str) -> None:
    with suppress(InputError):
        selected = parse_heads(text, 12, 9)
        assert selected
        assert selected == sorted(set(selected))
        assert all(layer < 12 and head < 9 for layer, head in selected)


def test_heads() -> None:
    assert parse_heads("L3H5,L4H0-2", 30, 9) == [(3, 5), (4, 0), (4, 1), (4, 2)]
    assert len(parse_heads("all", 30, 9)) == 270
    assert parse_head("L5H4") == (5, 4)
    assert parse_head("L5H4-6") is None
    for text in ("", "L3", "L3H5,", "L3H5-", "all,L3H5", "l3h5", "L٣H٥", "L3H5\n,x"):
        with pytest.raises(InputError, match="names no heads"):
            parse_heads(text, 30, 9)
    with pytest.raises(InputError, match="runs backwards"):
        parse_heads("L3H5-4", 30, 9)
    for text in ("L99H99", "L30H0", "L0H0-9"):
        with pytest.raises(InputError, match="the model has layers L0-L29 and heads H0-H8"):
            parse_heads(text, 30, 9)
