"""X/Y/Z plots: every cell has its own values, and no cell has those of another."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest

from lib_layerdiffusion.errors import BadSetting, LayerDiffuseError
from lib_layerdiffusion.methods import METHODS
from lib_layerdiffusion.request import xyz_axes
from lib_layerdiffusion.request.xyz_axes import AXES, Axis
from miniature.webui.processing import Processed, WebUI
from tests.helpers.jobs import SDXL_METHODS, arguments, picture, request

ATTENTION, CONVOLUTION = SDXL_METHODS[:2]


def axis(name: str) -> Axis:
    return next(one for one in AXES if one.name == name)


def plot(
    webui: WebUI, script: Any, args: list[Any], x: tuple[str, list[Any]], y: tuple[str, list[Any]]
) -> list[Processed | str]:
    """What a host does for a plot: one shallow copy of the request per cell, its axes applied."""
    p = request(webui, script, args)
    cells: list[Processed | str] = []
    for name, values in (x, y):
        axis(name).confirm(p, values)
    for row, column in itertools.product(y[1], x[1]):
        cell = copy.copy(p)
        axis(x[0]).apply(cell, column, x[1])
        axis(y[0]).apply(cell, row, y[1])
        try:
            cells.append(webui.process_images(cell))
        except LayerDiffuseError as error:
            cells.append(str(error))
    assert not hasattr(p, xyz_axes.VALUES)
    return cells


def single(webui: WebUI, script: Any, args: list[Any]) -> Processed:
    return webui.process_images(request(webui, script, args))


def same(one: Any, other: Processed) -> bool:
    return bool((np.asarray(one.images[0]) == np.asarray(other.images[0])).all())


def test_each_cell_is_what_a_job_with_its_values_gives(webui: WebUI, script: Any) -> None:
    methods = [ATTENTION.label, CONVOLUTION.label]
    cells = plot(webui, script, arguments(), ("method", methods), ("weight", [1.0, 0.5]))
    expected = [
        single(webui, script, arguments(method, weight=weight)) for weight in (1.0, 0.5) for method in methods
    ]
    for cell, alone in zip(cells, expected, strict=True):
        assert isinstance(cell, Processed)
        assert same(cell, alone)
        assert cell.infotexts == alone.infotexts
        assert len(cell.extra_images) == 1
    assert not any(same(one, other) for one, other in itertools.combinations(expected, 2))


def test_an_axis_switches_on_and_the_one_for_that_switches_off(webui: WebUI, script: Any) -> None:
    on, off = plot(webui, script, [False], ("enabled", ["on", "off"]), ("ending_step", [0.5]))
    assert isinstance(on, Processed)
    assert isinstance(off, Processed)
    assert on.images[0].mode == "RGBA"
    assert off.images[0].mode == "RGB"
    assert "layerdiffusion" not in off.info
    assert same(on, single(webui, script, arguments(ending_step=0.5)))
    (weaker,) = plot(webui, script, [False], ("weight", [0.5]), ("ending_step", [0.5]))
    assert isinstance(weaker, Processed)
    assert same(weaker, single(webui, script, arguments(weight=0.5, ending_step=0.5)))


def test_resize_modes_and_a_cell_that_cannot_work(webui: WebUI, script: Any) -> None:
    conditioned = SDXL_METHODS[2]
    args = arguments(conditioned, fg_image=picture(width=60, height=100))
    modes = ["Just Resize", "Resize and Fill"]
    stretched, filled = plot(webui, script, args, ("resize_mode", modes), ("enabled", ["on"]))
    assert isinstance(stretched, Processed)
    assert not same(stretched, single(webui, script, args))
    assert not same(filled, stretched)
    needs_more = SDXL_METHODS[3].label
    good, bad = plot(webui, script, args, ("method", [conditioned.label, needs_more]), ("weight", [1.0]))
    assert isinstance(good, Processed)
    assert isinstance(bad, str)
    assert "needs a blended picture" in bad


def test_decode_passes(webui: WebUI, script: Any) -> None:
    cells = plot(webui, script, arguments(), ("decode_passes", ["8", "2"]), ("weight", [1.0]))
    assert [("decode_passes: 2" in cell.info) for cell in cells if isinstance(cell, Processed)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("method", [ATTENTION.label, "Glass"], 'no method "Glass"'),
        ("weight", [1.0, 2.5], r'Weight \(weight\) of LayerDiffuse is "2.5"'),
        ("ending_step", [-1.0], "Stop At"),
        ("resize_mode", ["Tile"], "Resize Mode"),
        ("enabled", ["perhaps"], "Enabled"),
        (
            "decode_passes",
            ["3"],
            'decode_passes of LayerDiffuse is "3"; it must be one of 8, adaptive, 4, 2, 1.',
        ),
    ],
)
def test_values_that_cannot_work_are_refused_before_the_first_cell(
    name: str, values: list[Any], sentence: str
) -> None:
    with pytest.raises(BadSetting, match=sentence):
        axis(name).confirm(None, values)


def test_old_names_work_where_values_are_typed() -> None:
    axis("method").confirm(None, [alias for method in METHODS for alias in method.aliases])


def test_axes_cover_every_argument_but_the_pictures() -> None:
    from lib_layerdiffusion.request.settings import ARGUMENTS

    names = [name for name, _ in ARGUMENTS if not name.endswith("_image") and name != "output_origin"]
    assert {one.name for one in AXES} == {*names, "decode_passes"}
    assert len({one.label for one in AXES}) == len(AXES)


def test_a_copy_of_a_cell_has_no_part_in_the_plot(webui: WebUI, script: Any) -> None:
    cell = copy.copy(request(webui, script, [False]))
    axis("weight").apply(cell, 0.5, [0.5])
    axis("decode_passes").apply(cell, "2", ["2"])
    assert xyz_axes.arguments(cell) == {"enabled": True, "weight": 0.5}
    nested = copy.copy(cell)
    assert xyz_axes.arguments(nested) == {}
    assert "layerdiffusion" not in webui.process_images(nested).info
    assert "layerdiffusion_weight: 0.5" in webui.process_images(cell).info
