"""What a job of the miniature WebUI gives back."""

from __future__ import annotations

import json
from typing import Any


class Processed:
    """What a job gives back. A grid stands before the pictures and the infotexts, not in other lists."""

    def __init__(self, p: Any, images: list[Any], infotexts: list[str], index_of_first_image: int) -> None:
        self.images = images
        self.extra_images = p.extra_result_images
        self.infotexts = infotexts
        self.info = infotexts[0]
        self.index_of_first_image = index_of_first_image
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.all_prompts = p.all_prompts
        self.all_negative_prompts = p.all_negative_prompts
        self.all_seeds, self.all_subseeds = p.all_seeds, p.all_subseeds
        self.seed, self.subseed = p.all_seeds[0], p.all_subseeds[0]
        self.extra_generation_params = p.extra_generation_params

    def js(self) -> str:
        """What the page's buttons and the web API's clients are told, as JSON."""
        names = ("infotexts", "index_of_first_image", "all_prompts", "all_seeds", "seed")
        told = {name: getattr(self, name) for name in (*names, "extra_generation_params")}
        return json.dumps(told, default=lambda value: None)
