"""Stand-ins for scripts of a WebUI's list, which run several jobs and make one result of them."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageDraw

from miniature.webui import images
from miniature.webui.processing import Processed


class ListScript:
    """`given` are the init pictures of each job that it ran, `made` the pictures that came back."""

    name = ""

    def __init__(self) -> None:
        self.given: list[Image.Image] = []
        self.made: list[Image.Image] = []

    def title(self) -> str:
        return self.name

    def job(self, p: Any) -> Processed:
        given = list(p.init_images)
        result: Processed = p.webui.process_images(p)
        self.given += [*p.init_images] if given else []
        self.made += result.images
        return result


class SdUpscale(ListScript):
    """Enlarges the picture, and makes it anew tile by tile."""

    name = "SD upscale"
    overlap = 16

    def run(self, p: Any) -> Processed:
        opaque = images.flatten(p.init_images[0], "#ffffff")
        large = opaque.resize((2 * opaque.width, 2 * opaque.height), Image.Resampling.LANCZOS)
        grid = images.split_grid(large, p.width, p.height, self.overlap)
        cells = [cell for _, _, row in grid.tiles for cell in row]
        at_once, results = p.batch_size, []
        for first in range(0, len(cells), at_once):
            p.batch_size = at_once
            p.init_images = [tile for _, _, tile in cells[first : first + at_once]]
            processed = self.job(p)
            results += processed.images
        for cell, result in zip(cells, results, strict=False):
            cell[2] = result
        processed.images = [images.combine_grid(grid)]
        return processed


class UltimateUpscale(ListScript):
    """Enlarges the picture, and inpaints it anew one masked tile after the other."""

    name = "Ultimate SD upscale"

    def run(self, p: Any) -> Processed:
        opaque = images.flatten(p.init_images[0], "#ffffff")
        picture = opaque.resize((2 * opaque.width, 2 * opaque.height), Image.Resampling.LANCZOS)
        p.inpaint_full_res = True
        for left in range(0, picture.width, p.width):
            for top in range(0, picture.height, p.height):
                mask = Image.new("L", picture.size)
                ImageDraw.Draw(mask).rectangle((left, top, left + p.width - 1, top + p.height - 1), fill=255)
                p.init_images, p.image_mask = [picture], mask
                processed = self.job(p)
                picture = processed.images[0]
        return processed


class PoorMansOutpainting(ListScript):
    """Puts the picture on a larger canvas, and makes the tiles of it that are not all picture."""

    name = "Poor man's outpainting"

    def run(self, p: Any) -> Processed:
        given = p.init_images[0]
        canvas = Image.new("RGB", (given.width + p.width, given.height))
        canvas.paste(given, (0, 0))
        grid = images.split_grid(canvas, p.width, p.height, 16)
        for _, _, row in grid.tiles:
            for cell in row:
                if cell[0] + cell[1] > given.width:
                    p.init_images = [cell[2]]
                    processed = self.job(p)
                    cell[2] = processed.images[0]
        processed.images = [images.combine_grid(grid)]
        return processed


class OutpaintingMk2(ListScript):
    """Pastes what it makes beside the picture into an opaque canvas, by itself."""

    name = "Outpainting mk2"

    def run(self, p: Any) -> Processed:
        canvas = Image.new("RGB", (p.width * 2, p.height))
        canvas.paste(p.init_images[0], (0, 0))
        p.init_images = [canvas.crop((p.width, 0, 2 * p.width, p.height))]
        processed = self.job(p)
        canvas.paste(processed.images[0], (p.width, 0))
        processed.images = [canvas]
        return processed


class Loopback(ListScript):
    """Starts from what the job before gave."""

    name = "Loopback"

    def run(self, p: Any) -> Processed:
        for _ in range(2):
            processed = self.job(p)
            p.init_images = [processed.images[0]]
        return processed


class PromptMatrix(ListScript):
    """One job of several prompts, and a grid of its pictures."""

    name = "Prompt matrix"

    def run(self, p: Any) -> Processed:
        p.prompt, p.n_iter = ["a cup", "a cup, of glass"], 2
        processed = self.job(p)
        processed.images.insert(0, images.image_grid(processed.images))
        return processed
