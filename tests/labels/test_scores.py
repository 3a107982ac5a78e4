"""Scores in words."""

from __future__ import annotations

import pytest

from cnnviz.labels.scores import Score


@pytest.mark.parametrize(
    ("score", "title", "short", "prediction"),
    [
        (
            Score(33, "loggerhead, loggerhead turtle", 4.0, 0.614),
            "loggerhead, loggerhead turtle (33)",
            "loggerhead (33)",
            "loggerhead, loggerhead turtle (33) 0.61",
        ),
        (Score(3, None, 4.0, 0.0042), "class 3", "class 3", "class 3: 0.004"),
        (Score(3, None, 38.21, None), "output 3", "output 3", "output 3: 38.21"),
        (
            Score(0, "a (x, y), b", -0.5, None),
            "a (x, y), b (0)",
            "a (x (0)",
            "a (x, y), b (0) -0.5",
        ),
    ],
)
def test_a_score_in_words(score, title, short, prediction):
    assert (score.title, score.short_title, score.prediction) == (title, short, prediction)
