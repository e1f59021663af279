"""The method table: every method is one row, and everything that depends on a method is read from its row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from lib_layerdiffusion.errors import BadSetting


class Layer(Enum):
    """One of the three pictures a scene consists of."""

    FOREGROUND = "foreground"
    BACKGROUND = "background"
    BLENDED = "blended"


class Injection(Enum):
    """How a family's layer model reaches the UNet."""

    ATTENTION_SHARING = "attention sharing"
    WEIGHT_PATCH = "weight patch"


@dataclass(frozen=True)
class WeightFile:
    """A released file. `size` is in bytes, 0 where it is not published."""

    name: str
    size: int = 0

    @property
    def filename(self) -> str:
        return f"{self.name}.safetensors"


@dataclass(frozen=True)
class Family:
    """A base model family. `key` is what a host calls it, `title` what a user calls it."""

    key: str
    title: str
    injection: Injection
    decoder: WeightFile
    encoder: WeightFile


@dataclass(frozen=True)
class Method:
    """One method. `label` is UI text, API value and infotext value at once and never changes.

    `pictures` are the condition pictures, in the order their latents join the UNet's input;
    `outputs` the layers of one scene, in batch order; `aliases` older spellings of `label`.
    """

    label: str
    family: Family
    weights: WeightFile
    pictures: tuple[Layer, ...] = ()
    outputs: tuple[Layer, ...] = (Layer.FOREGROUND,)
    aliases: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.outputs)

    @property
    def prompts(self) -> tuple[Layer, ...]:
        """Layers that take an additional prompt."""
        return self.outputs if self.frames > 1 else ()

    @property
    def decodes_alpha(self) -> bool:
        """The foreground, always frame 0, gets its transparency decoded."""
        return Layer.FOREGROUND in self.outputs

    @property
    def resizes_pictures(self) -> bool:
        return bool(self.pictures)


SD15 = Family(
    "sd15",
    "SD1.5",
    Injection.ATTENTION_SHARING,
    decoder=WeightFile("layer_sd15_vae_transparent_decoder", 208266320),
    encoder=WeightFile("layer_sd15_vae_transparent_encoder"),
)
SDXL = Family(
    "sdxl",
    "SDXL",
    Injection.WEIGHT_PATCH,
    decoder=WeightFile("vae_transparent_decoder", 208266320),
    encoder=WeightFile("vae_transparent_encoder"),
)
FAMILIES: tuple[Family, ...] = (SD15, SDXL)

_FG, _BG, _BLEND = Layer.FOREGROUND, Layer.BACKGROUND, Layer.BLENDED

METHODS: tuple[Method, ...] = (
    Method(
        "(SD1.5) Only Generate Transparent Image (Attention Injection)",
        SD15,
        WeightFile("layer_sd15_transparent_attn", 350266608),
    ),
    Method(
        "(SD1.5) From Foreground to Background (need batch size 2)",
        SD15,
        WeightFile("layer_sd15_fg2bg"),
        pictures=(_FG,),
        outputs=(_BG, _BLEND),
        aliases=("(SD1.5) From Foreground to Background",),
    ),
    Method(
        "(SD1.5) From Background to Foreground (need batch size 2)",
        SD15,
        WeightFile("layer_sd15_bg2fg"),
        pictures=(_BG,),
        outputs=(_FG, _BLEND),
        aliases=("(SD1.5) From Background to Foreground",),
    ),
    Method(
        "(SD1.5) Generate Everything Together (need batch size 3)",
        SD15,
        WeightFile("layer_sd15_joint"),
        outputs=(_FG, _BG, _BLEND),
        aliases=("(SD1.5) Generate Everything Together",),
    ),
    Method(
        "(SDXL) Only Generate Transparent Image (Attention Injection)",
        SDXL,
        WeightFile("layer_xl_transparent_attn", 743352688),
        aliases=("Only Generate Transparent Image (Attention Injection)",),
    ),
    Method(
        "(SDXL) Only Generate Transparent Image (Conv Injection)",
        SDXL,
        WeightFile("layer_xl_transparent_conv", 3619745776),
        aliases=("Only Generate Transparent Image (Conv Injection)",),
    ),
    Method(
        "(SDXL) From Foreground to Blending",
        SDXL,
        WeightFile("layer_xl_fg2ble", 701981624),
        pictures=(_FG,),
        outputs=(_BLEND,),
        aliases=("From Foreground to Blending",),
    ),
    Method(
        "(SDXL) From Foreground and Blending to Background",
        SDXL,
        WeightFile("layer_xl_fgble2bg"),
        pictures=(_FG, _BLEND),
        outputs=(_BG,),
        aliases=("From Foreground and Blending to Background",),
    ),
    Method(
        "(SDXL) From Background to Blending",
        SDXL,
        WeightFile("layer_xl_bg2ble", 701981624),
        pictures=(_BG,),
        outputs=(_BLEND,),
        aliases=("From Background to Blending",),
    ),
    Method(
        "(SDXL) From Background and Blending to Foreground",
        SDXL,
        WeightFile("layer_xl_bgble2fg"),
        pictures=(_BG, _BLEND),
        outputs=(_FG,),
        aliases=("From Background and Blending to Foreground",),
    ),
)

DEFAULT_METHOD = next(m for m in METHODS if m.family is SDXL)


def find_method(name: str, methods: Iterable[Method] = METHODS) -> Method:
    """Return the method called `name`, now or in an older release.

    Raises BadSetting with the names that exist.
    """
    for method in methods:
        if name == method.label or name in method.aliases:
            return method
    known = "; ".join(m.label for m in methods)
    raise BadSetting(f'LayerDiffuse has no method "{name}". Choose one of: {known}.')
