"""What others did to a finished picture, carried over to its transparent version.

They work on the opaque picture of the VAE, which lies on grey: a half-transparent yellow is a greyish one
there. So a change is added to the colour that the decoder found, unless it put something else in its place.
"""

from __future__ import annotations

import cv2
import numpy as np

from lib_layerdiffusion.pictures.arithmetic import FloatImage, Uint8Image, blocks, pad_colour

ROUNDING, CERTAIN = 1, 16
"""Levels by which a colour differs that nobody changed, and by which one that somebody certainly did."""
REPLACED, FOLLOWED = 0.25, 0.75
"""How far the detail of a changed picture goes along with that before: painted over below, changed above."""
SHIFT, OTHER = 48.0, 96.0
"""Levels by which a place without detail was shifted: it is the same place below, another one above."""
DETAIL = 8.0
"""Variance of three colours, in levels, below which there is hardly any detail to go by."""
CELL = 4
"""Pixels a side that are judged as one, with what is around them."""
AROUND = 5
"""Cells a side that a judgement looks at."""
BLED = 4
"""Alpha above which a colour is the decoder's own; below, that of its surroundings counts more and more."""


def carry_edit(rgba: Uint8Image, before: Uint8Image, after: Uint8Image) -> Uint8Image:
    """Return RGBA with the alpha of `rgba` and what was changed from `before` to `after`.

    `rgba` [H, W, 4] was decoded from `before` [H, W, 3]. Where something was painted over, the result has the
    colour of `after`; where it was only changed, that of `rgba` with the change added; in proportion
    between. A change of one level is rounding. `after` [h, w, 3 or 4] may have another size, which the result
    has then, and an alpha of its own, above which that of the result does not go.
    """
    if before.shape[:2] != after.shape[:2]:
        rgba, before = _resized(rgba, before, after.shape[0], after.shape[1])
    if after.shape[2] == 3:
        return _edited(rgba, before, after, None)
    theirs = np.ascontiguousarray(after[..., 3])
    result = _edited(rgba, before, _straight(after, before), theirs)
    return np.dstack([result[..., :3], np.minimum(rgba[..., 3], theirs)])


def _edited(rgba: Uint8Image, before: Uint8Image, after: Uint8Image, theirs: Uint8Image | None) -> Uint8Image:
    changes = cv2.absdiff(after, before).reshape(after.shape)
    if changes.max(initial=0) <= ROUNDING:
        return rgba
    red, green, blue = cv2.split(changes)
    change = np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)
    replaced = _replaced(before, after, change)
    if theirs is not None:
        # a colour that came with an alpha does not lie on grey
        replaced = np.maximum(replaced, 2 - theirs / np.float32(127.5))
    result = rgba.copy()
    for rows in blocks(rgba):
        if change[rows].max() > ROUNDING:
            painted = _certain(change[rows])
            painted *= replaced[rows]
            own = cv2.cvtColor(rgba[rows], cv2.COLOR_BGRA2BGR).astype(np.float32) - before[rows]
            own *= cv2.cvtColor(1 - painted.clip(0, 1, out=painted), cv2.COLOR_GRAY2BGR)
            own += after[rows]
            colour = own.round(out=own).clip(0, 255, out=own).astype(np.uint8)
            np.copyto(result[rows, :, :3], colour, where=(change[rows] > ROUNDING)[..., None])
    return result


def _certain(change: Uint8Image) -> FloatImage:
    """How certain it is that levels differ because somebody changed them, from 0 to 1."""
    return ((change - np.float32(ROUNDING)) / np.float32(CERTAIN - ROUNDING)).clip(0, 1)


def _replaced(before: Uint8Image, after: Uint8Image, change: Uint8Image) -> FloatImage:
    """Return [H, W]: 1 where the detail of `before` is gone from `after`, 0 where it went along.

    A line fitted to the colours around says so: its slope is 1 where a picture is brighter or sharper, 0
    where something else is. Only pixels that have changed take part, so a pasted box is judged by itself.
    """
    height, width = change.shape
    sums = _sums(before, after, change)
    sums = np.asarray(cv2.blur(sums, (AROUND, AROUND)), np.float32)
    count = np.maximum(sums[..., :1], np.float32(1e-6))
    mean_before, mean_after = sums[..., 1:4] / count, sums[..., 4:7] / count
    variance = sums[..., 7] / count[..., 0] - np.square(mean_before).sum(2)
    together = sums[..., 8] / count[..., 0] - (mean_before * mean_after).sum(2)
    shift = np.abs(mean_after - mean_before).max(2)
    # without detail it is the same place if all of the picture was changed, and not by much
    everywhere = max(0.0, 2 * float((change > ROUNDING).mean()) - 1)
    same = DETAIL * everywhere * ((OTHER - shift) / (OTHER - SHIFT)).clip(0, 1)
    slope = (together + same) / (variance.clip(0) + same + 1)
    replaced = ((FOLLOWED - slope) / (FOLLOWED - REPLACED)).clip(0, 1).astype(np.float32)
    size = replaced.shape[1] * CELL, replaced.shape[0] * CELL
    return cv2.resize(replaced, size, interpolation=cv2.INTER_LINEAR)[:height, :width]


def _sums(before: Uint8Image, after: Uint8Image, change: Uint8Image) -> FloatImage:
    """Return means over cells [h, w, 9], weighted by certainty: 1, before, after, squares, products."""
    height, width = change.shape
    sums = np.zeros((-(-height // CELL), -(-width // CELL), 9), np.float32)
    step = CELL * max(1, 2**18 // (CELL * width))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        if change[rows].max() <= ROUNDING:
            continue
        weight = _certain(change[rows])
        weights = cv2.cvtColor(weight, cv2.COLOR_GRAY2BGR)
        # around 0, so that little is lost where squares are taken from each other
        first, second = (np.subtract(one[rows], np.float32(128)) for one in (before, after))
        weighted = first * weights
        add = np.ones((1, 3), np.float32)
        columns = [
            weight,
            weighted,
            second * weights,
            np.asarray(cv2.transform(weighted * first, add), np.float32),
            np.asarray(cv2.transform(weighted * second, add), np.float32),
        ]
        cells = slice(top // CELL, -(-rows.stop // CELL))
        sums[cells] = np.dstack([_cells(column) for column in columns])
    return sums


def _cells(values: FloatImage) -> FloatImage:
    """Means of [h, w, ...] over cells; what lies beyond the border counts as 0."""
    down, across = -values.shape[0] % CELL, -values.shape[1] % CELL
    if down or across:
        beyond = [(0, down), (0, across), (0, 0)]
        values = np.pad(values, beyond[: values.ndim])
    size = values.shape[1] // CELL, values.shape[0] // CELL
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _resized(rgba: Uint8Image, before: Uint8Image, height: int, width: int) -> tuple[Uint8Image, Uint8Image]:
    """Bring both to another size, the invisible colours filled in so that they do not creep into the rim."""
    grown = height > before.shape[0]
    share = (rgba[..., 3:] / np.float32(BLED)).clip(0, 1)
    colour = pad_colour(rgba) * np.float32(255) * (1 - share) + rgba[..., :3] * share
    bled = np.dstack([colour.round().clip(0, 255).astype(np.uint8), rgba[..., 3]])
    method = cv2.INTER_CUBIC if grown else cv2.INTER_AREA
    resized = [cv2.resize(one, (width, height), interpolation=method) for one in (bled, before)]
    return np.asarray(resized[0], np.uint8), np.asarray(resized[1], np.uint8)


def _straight(after: Uint8Image, before: Uint8Image) -> Uint8Image:
    """Return the colours of a picture with an alpha of its own; invisible ones count as unchanged.

    Some scripts hand on colours that are multiplied by alpha. Each pixel is read in the way that is
    nearer to what it was.
    """
    colour, alpha = np.ascontiguousarray(after[..., :3]), after[..., 3:]
    if alpha.min(initial=255) == 255:
        return colour
    divided = colour * np.float32(255) / np.maximum(alpha, 1)
    divided = divided.round().clip(0, 255).astype(np.uint8)
    distances = [cv2.absdiff(one, before).max(2, keepdims=True) for one in (colour, divided)]
    nearer = np.where(distances[1] < distances[0], divided, colour)
    return np.where(alpha == 0, before, nearer)
