"""Prompts and seeds of whole scenes, from lists that have an entry per scene or per picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lib_layerdiffusion.request.scenes import arrange


def job(batch_size: int, seeds: list[int], subseeds: list[int], **more: Any) -> Any:
    texts = ["a cup"] * len(seeds)
    values = {"seed": seeds[0], "subseed": subseeds[0], "all_prompts": texts, **more}
    return SimpleNamespace(batch_size=batch_size, all_seeds=seeds, all_subseeds=subseeds, **values)


@pytest.mark.parametrize(
    ("batch_size", "seeds", "chosen", "expected"),
    [
        (1, [5], False, [5, 6, 7]),
        (2, [5, 6], False, [5, 6, 7, 8, 9, 10]),
        (2, [5, 6], True, [5, 6, 7, 6, 7, 8]),
        (2, [5, 5], False, [5, 6, 7, 5, 6, 7]),
        (1, [5, 9], False, [5, 6, 7, 9, 10, 11]),
        (3, [5, 6, 7, 8, 9, 10], False, [5, 6, 7, 8, 9, 10]),
        (3, [5, 5, 5], False, [5, 6, 7]),
        (3, [5, 50, 500], True, [5, 6, 7]),
    ],
)
def test_pictures_of_a_scene_count_on_from_its_seed(
    batch_size: int, seeds: list[int], chosen: bool, expected: list[int]
) -> None:
    given = {"seed": seeds, "subseed": seeds} if chosen else {}
    p = job(batch_size, seeds, list(seeds), **given)
    arrange(p, 3)
    assert p.all_seeds == p.all_subseeds == expected
    assert len(p.all_prompts) == len(expected)
    assert p.batch_size % 3 == 0


def test_with_a_variation_seed_only_that_one_counts_on() -> None:
    for batch_size, seeds, variations in ((2, [5, 5], [20, 21]), (3, [5] * 6, list(range(20, 26)))):
        p = job(batch_size, seeds, variations, subseed_strength=0.3)
        arrange(p, 3)
        assert p.all_seeds == [5] * 6
        assert p.all_subseeds == [20, 21, 22, 23, 24, 25]


def test_every_kind_of_prompt_goes_with_its_scene() -> None:
    names = ("all_prompts", "all_negative_prompts", "all_hr_prompts", "all_hr_negative_prompts")
    p = job(1, [1, 2], [1, 2], **{name: [f"{name} a", f"{name} b"] for name in names})
    arrange(p, 2)
    for name in names:
        assert getattr(p, name) == [f"{name} a"] * 2 + [f"{name} b"] * 2
