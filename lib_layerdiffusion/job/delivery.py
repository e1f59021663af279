"""What becomes of a job's pictures where some could not be made: the others stay, each with its infotext."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.hosts.left_out import LeftOut, Undeliverable

PER_PICTURE = ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds")
"""Lists of a host's result with an entry for each picture that was asked for."""


class Delivery:
    """Counts the pictures of one job that were handed to the host, and knows which of them are left out."""

    def __init__(self) -> None:
        self._left_out: dict[int, LeftOut] = {}
        self._count = 0

    def deliver(self) -> None:
        """Count a picture."""
        self._count += 1

    @property
    def delivered(self) -> int:
        """How many pictures were delivered so far."""
        return self._count - len(self._left_out)

    def leave_out(self, error: LayerDiffuseError, index: int, size: tuple[int, int]) -> LeftOut:
        """Count one that could not be made, number `index` of the job; return what stands in its place."""
        stand_in = self._left_out[self._count] = LeftOut(error, index, size)
        self._count += 1
        return stand_in

    def conclude(self, processed: Any, keeps_places: bool) -> bool:
        """Take what is left out from a host's result; return whether any picture is left.

        `keeps_places`: whoever ran the job goes by the places of the pictures, so an empty one is put there.
        Where no picture is left, whoever looks at the result gets the error of the first.
        """
        if self._left_out and len(self._left_out) == self._count:
            first = next(iter(self._left_out.values()))
            processed.images = processed.js = Undeliverable(first.error)
            return False
        if keeps_places:
            processed.images = [i.empty() if isinstance(i, LeftOut) else i for i in processed.images]
        elif self._left_out:
            self._take_out(processed)
        return True

    def _take_out(self, processed: Any) -> None:
        there = {id(image) for image in processed.images if isinstance(image, LeftOut)}
        # another script may have put a picture of its own there
        left_out = {order: one for order, one in self._left_out.items() if id(one) in there}
        processed.images = [image for image in processed.images if not isinstance(image, LeftOut)]
        grids = processed.index_of_first_image
        processed.infotexts = _without(processed.infotexts, [grids + order for order in left_out])
        processed.info = processed.infotexts[0]
        indices = [one.index for one in left_out.values()]
        count = len(processed.all_prompts)
        for name in PER_PICTURE:
            if hasattr(processed, name):
                setattr(processed, name, _without(getattr(processed, name), indices))
        processed.seed = processed.all_seeds[0]
        processed.subseed = processed.all_subseeds[0]
        processed.extra_generation_params = {
            key: _without(value, indices) if isinstance(value, list) and len(value) == count else value
            for key, value in processed.extra_generation_params.items()
        }


def _without(values: list[Any], indices: Collection[int]) -> list[Any]:
    return [value for index, value in enumerate(values) if index not in indices]
