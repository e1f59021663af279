"""What is known of one run while it goes on; it hangs on the host's processing object."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor

from lib_layerdiffusion.errors import LayerDiffuseError
from lib_layerdiffusion.hosts.base import Job
from lib_layerdiffusion.hosts.scene_files import SceneFiles
from lib_layerdiffusion.job.delivery import Delivery
from lib_layerdiffusion.job.generation import Generation
from lib_layerdiffusion.job.init_pictures import InitPictures
from lib_layerdiffusion.job.layer_place import place_of
from lib_layerdiffusion.job.repaints import Repaints
from lib_layerdiffusion.job.retries import Retries
from lib_layerdiffusion.job.verdicts import Verdicts
from lib_layerdiffusion.methods import Layer
from lib_layerdiffusion.pictures.arithmetic import Uint8Image, condition_layer

STATE = "_layerdiffuse"


class JobState:
    """One run: its generation, the latents of each batch, the init pictures, what inpainting needs.

    `page` is the name of the page that began it, `text` what all its infotexts say. `decoded` and `addresses`
    are those of the pictures in the batch as the VAE decoded it, `listed` is the argument of the hook in
    which scripts may change their order. `finishing` and `overlay` are the arguments of the hooks for the
    picture at hand; `problem` is why the batch at hand has no patched model.
    """

    def __init__(
        self, p: Job, generation: Generation, retries: Retries, repaints: Repaints, page: str
    ) -> None:
        self.p = p
        self.retries = retries
        self.repaints = repaints
        self.text: dict[str, Any] = {}
        self.page = page
        self.generation = generation
        self.latents: dict[int, Tensor] = {}
        self.init_pictures: InitPictures | None = None
        self.decoded: list[Uint8Image] = []
        self.addresses: list[int] = []
        self.listed: Any = None
        self.finishing: Any = None
        self.overlay: Any = None
        self.delivery = Delivery()
        self.verdicts = Verdicts(generation.show, silent=retries.is_try)
        self.problem: LayerDiffuseError | None = None
        self._scene: SceneFiles | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> JobState:
        # so that a deep copy of `p` is told from it like any other copy
        return self

    def catch_highres_latents(self) -> None:
        """Keep those of a highres pass, after which the host hands out decoded pixels in their place."""
        if not getattr(self.p, "is_hr_pass", False):
            return
        sample = self.p.sampler.sample_img2img

        def sample_and_keep(*args: Any, **kwargs: Any) -> Tensor:
            latents: Tensor = sample(*args, **kwargs)
            self.latents[self.p.iteration] = latents.detach()
            return latents

        self.p.sampler.sample_img2img = sample_and_keep

    def begin_scene(self, size: tuple[int, int]) -> None:
        """Await the layers of a scene, of width and height `size`; a step of a longer run makes no files."""
        settings = self.generation.settings
        given = {
            layer.value: condition_layer(settings.pictures[layer], settings.resize_mode, size[1], size[0])
            for layer in settings.method.pictures
        }
        awaited = [layer.value for layer in settings.method.outputs]
        self._scene = None if place_of(self.p) else SceneFiles(given, awaited)

    def in_scene(self, picture: Image.Image, layer: Layer) -> None:
        """Have a finished picture bring its layer into the scene's file when it is saved."""
        if self._scene is not None:
            self._scene.await_picture(picture, layer.value)

    def overlay_mask(self) -> Image.Image | None:
        """Return the mask, if the host lays the original over the picture."""
        return (
            None
            if self.overlay is None or self.overlay.overlay_image is None
            else self.overlay.mask_for_overlay
        )

    def batch_position(self) -> int:
        """Return where the picture at hand was in its batch when sampled; scripts may have moved it since."""
        position = int(self.p.batch_index)
        images = [] if self.listed is None else self.listed.images
        if position < len(images) and isinstance(images[position], Tensor):
            address = images[position].data_ptr()
            if address in self.addresses:
                return self.addresses.index(address)
        return position

    def picture_index(self) -> int:
        """Return the number of the picture at hand in its job, counted from 0."""
        return int(self.p.iteration * self.p.batch_size + self.p.batch_index)

    def picture_name(self) -> str:
        """Return what messages call the picture at hand."""
        count = len(self.p.all_prompts)
        return f"picture {self.picture_index() + 1} of {count}" if count > 1 else "the picture"


def state_of(p: Job) -> JobState | None:
    """Return the state of this very object, not that of one it was copied from."""
    state: JobState | None = getattr(p, STATE, None)
    return state if state is not None and state.p is p else None
