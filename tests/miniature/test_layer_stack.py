"""Stacks of layers by the trained miniature, through the script of the list.

Bounds lie between what was measured (miniature/README.md) and what broken code gives.
"""

from __future__ import annotations

import numpy as np
import pytest

from miniature.measure import quality, stacks
from miniature.webui.demo import Trained


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


def test_objects_stand_on_the_background_one_before_the_other(trained: Trained) -> None:
    made = stacks.stacked(trained, "sea", ("lemon", "owl"), 1)
    first, second = made.objects
    assert first.covers > 0.75
    assert first.agrees > 22
    assert second.covers > 0.7
    assert second.agrees > 21.5
    assert made.kept > 45


def test_an_object_is_taken_out_of_a_picture(trained: Trained) -> None:
    taken = [
        stacks.taken_out(trained, quality.layers(trained, *named))
        for named in (quality.NAMED[0], quality.NAMED[2])
    ]
    assert np.mean([one.alpha for one in taken]) < 0.04
    assert min(one.composite for one in taken) > 22
    assert np.mean([one.behind for one in taken]) > 15
