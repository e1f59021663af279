"""Where rectangles go so that together they take little room: a skyline, bottom left first.

Its own, since no packer ships with the WebUIs and the hundred lines of one are all that is needed: no
rotation, one page. The way is the bottom-left skyline of Jylänki, "A Thousand Ways to Pack the Bin" (2010).
"""

from __future__ import annotations

from collections.abc import Sequence

Size = tuple[int, int]
"""Width and height in pixels."""
Place = tuple[int, int]
"""Left and top."""


def pack(sizes: Sequence[Size], largest: int) -> tuple[list[Place], Size] | None:
    """Return a place for each rectangle, and the size of the page that they fill; None where they do not fit.

    The page has sides up to `largest`; of the widths that are tried, the one with the smallest page wins.
    """
    if not sizes:
        return [], (0, 0)
    widest = max(width for width, _ in sizes)
    if widest > largest:
        return None
    area = sum(width * height for width, height in sizes)
    # tall ones first, so that what comes later fills up beside them
    order = sorted(range(len(sizes)), key=lambda n: (-sizes[n][1], -sizes[n][0], n))
    best: tuple[list[Place], Size] | None = None
    for factor in (1.0, 1.05, 1.15, 1.3, 1.5, 2.0):
        width = min(largest, max(widest, round(factor * area**0.5)))
        found = _filled(sizes, order, width)
        right = max(x + sizes[n][0] for n, (x, _) in enumerate(found))
        bottom = max(y + sizes[n][1] for n, (_, y) in enumerate(found))
        fits = right <= largest and bottom <= largest
        if fits and (best is None or right * bottom < best[1][0] * best[1][1]):
            best = found, (right, bottom)
    return best


def _filled(sizes: Sequence[Size], order: Sequence[int], page: int) -> list[Place]:
    """Put each where its lower side is highest up, then as far left as can be; as deep as it takes."""
    # the outline of what is taken: left, top, width of each step, from left to right
    skyline = [(0, 0, page)]
    places: list[Place] = [(0, 0)] * len(sizes)
    for number in order:
        width, height = sizes[number]
        y, _, start = min(
            (y, skyline[at][0], at)
            for at in range(len(skyline))
            if (y := _top(skyline, at, width, page)) is not None
        )
        x = skyline[start][0]
        places[number] = x, y
        skyline = _raised(skyline, start, x, y + height, width)
    return places


def _top(skyline: Sequence[tuple[int, int, int]], at: int, width: int, page: int) -> int | None:
    """How far down a rectangle comes to lie whose left side is that of a step; None where it sticks out."""
    left = skyline[at][0]
    if left + width > page:
        return None
    top = 0
    for x, y, _ in skyline[at:]:
        if x >= left + width:
            break
        top = max(top, y)
    return top


def _raised(
    skyline: Sequence[tuple[int, int, int]], start: int, left: int, top: int, width: int
) -> list[tuple[int, int, int]]:
    raised = [*skyline[:start], (left, top, width)]
    for x, y, long in skyline[start:]:
        hidden = max(0, left + width - x)
        if hidden < long:
            raised.append((x + hidden, y, long - hidden))
    joined = raised[:1]
    for x, y, long in raised[1:]:
        if joined[-1][1] == y:
            joined[-1] = joined[-1][0], y, joined[-1][2] + long
        else:
            joined.append((x, y, long))
    return joined
