"""The natural order of names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from cnnviz.images.names import natural_key


def tokens(path):
    """What the order is: digits by value before text without case, part by part."""
    return (
        tuple(
            tuple(
                (0, int(token), "") if token.isdecimal() else (1, 0, token.casefold())
                for token in re.split(r"([0-9]+)", part)
                if token
            )
            for part in path.parts
        ),
        str(path),
    )


PATHS = st.lists(
    st.text(st.sampled_from("019aAbB._- ßé٣\U0001f600"), min_size=1, max_size=25), min_size=1
).map(lambda parts: PurePosixPath(*parts))


@given(PATHS, PATHS)
def test_one_string_sorts_as_the_tokens_do(first, second):
    assert (natural_key(first) < natural_key(second)) == (tokens(first) < tokens(second))
