"""What a stage needs of the ones before it: from their checkpoints, or as published in miniature/weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from lib_layerdiffusion.files import tensors
from lib_layerdiffusion.methods import ANIMA, SD15, SDXL
from lib_layerdiffusion.models.encoder_and_decoder import TransparencyDecoder, TransparencyEncoder
from lib_layerdiffusion.models.rgba_vae import RgbaVae
from miniature.nets import trained
from miniature.nets.autoencoder import AutoencoderKL
from miniature.nets.unet import UNet
from miniature.training import autoencoder_stage, generator_stage, rgba_generator_stage, transparency_stage
from miniature.training.emoji import Emoji
from miniature.training.generator_stage import Generator
from miniature.training.transparency_stage import Pair

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Earlier:
    """Frozen networks on `device`; each method raises Untrained where the stage has not been run.

    With `published` none needs to have been: the weights are those that the repository has.
    """

    folder: Path
    emoji: Emoji
    device: torch.device
    published: bool

    def vae(self) -> AutoencoderKL:
        if self.published:
            return self._frozen(trained.load_trained(SDXL).vae)
        return self._frozen(autoencoder_stage.trained(self.folder, self.emoji))

    def pair(self) -> Pair:
        if not self.published:
            return self._frozen(transparency_stage.trained(self.folder))
        pair = Pair()
        files = trained.LAYER_FILES
        pair.encoder = tensors.network(files / SDXL.encoder.filename, TransparencyEncoder.from_state_dict)
        pair.decoder = tensors.network(files / SDXL.decoder.filename, TransparencyDecoder.from_state_dict)
        return self._frozen(pair.float())

    def generator(self) -> Generator:
        if not self.published:
            return self._frozen(generator_stage.trained(self.folder))
        base, found = trained.load_trained(SDXL), Generator()
        found.unet, found.text = base.unet, base.text
        return self._frozen(found)

    def unet_sd15(self) -> UNet:
        if self.published:
            return self._frozen(trained.load_trained(SD15).unet)
        return self._frozen(generator_stage.trained_sd15(self.folder))

    def rgba_vae(self) -> RgbaVae:
        if self.published:
            path = trained.LAYER_FILES / ANIMA.decoder.filename
            return self._frozen(tensors.network(path, RgbaVae.from_state_dict).float())
        return self._frozen(rgba_generator_stage.vae(self.folder, self.emoji))

    def unet_anima(self) -> UNet:
        if self.published:
            return self._frozen(trained.load_trained(ANIMA).unet)
        return self._frozen(rgba_generator_stage.trained_base(self.folder))

    def _frozen(self, module: Module) -> Module:
        return module.eval().requires_grad_(False).to(self.device)
