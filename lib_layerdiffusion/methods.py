"""The method table: every method is one row, and everything that depends on a method is read from its row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from lib_layerdiffusion.errors import BadSetting
from lib_layerdiffusion.weight_files import ANIMA_RGBA, LAYERDIFFUSION, Holds, WeightFile


class Layer(Enum):
    """One of the three pictures a scene consists of."""

    FOREGROUND = "foreground"
    BACKGROUND = "background"
    BLENDED = "blended"


class Injection(Enum):
    """How a family's layer model reaches the UNet."""

    ATTENTION_SHARING = "attention sharing"
    WEIGHT_PATCH = "weight patch"
    LORA = "LoRA"
    NONE = "none"


@dataclass(frozen=True)
class Family:
    """A base model family. `key` is what a host calls it, `title` what a user calls it.

    `engine` is the module among a host's engines that runs its models, "" where every host has it. `channels`
    are those of its latents, `blocks` the most that its models have, 0 for any number; `side`, in pixels, is
    that of their pictures. `words` belong into the prompt. What is `experimental` nobody has judged yet.
    """

    key: str
    title: str
    injection: Injection
    decoder: WeightFile
    encoder: WeightFile
    engine: str = ""
    channels: int = 4
    blocks: int = 0
    words: str = ""
    side: int = 1024
    experimental: bool = False

    @property
    def decodes_latents_alone(self) -> bool:
        """Its decoder makes RGBA of a latent, and needs no picture beside it."""
        return self.decoder.holds is Holds.RGBA_VAE

    @property
    def if_opaque(self) -> str:
        """What to do where the background stays, "" for what the released methods need."""
        more = f'Write "({self.words}:1.3)" into the prompt, or use a checkpoint closer to {self.title}.'
        return more if self.words else ""


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
    def makes_alpha(self) -> bool:
        """The foreground, always frame 0, comes out transparent."""
        return Layer.FOREGROUND in self.outputs

    @property
    def keeps_alpha(self) -> bool:
        """Its transparency is that of the init picture, and the model is any."""
        return self.makes_alpha and self.family.injection is Injection.NONE

    @property
    def decodes_alpha(self) -> bool:
        """Its transparency is decoded."""
        return self.makes_alpha and not self.keeps_alpha

    @property
    def decodes_in_passes(self) -> bool:
        """Its decoder looks at a picture, which lies on grey, in several orientations."""
        return self.decodes_alpha and not self.family.decodes_latents_alone

    @property
    def makes_one_alone(self) -> bool:
        """It makes one transparent picture, which is no layer of a scene."""
        return self.decodes_alpha and self.frames == 1

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Return all released files that it needs."""
        if self.family.injection is Injection.NONE:
            return ()
        both = (self.family.decoder, self.family.encoder) if self.decodes_alpha else ()
        return (self.weights, *dict.fromkeys(both))

    @property
    def resizes_pictures(self) -> bool:
        return bool(self.pictures)


SD15 = Family(
    "sd15",
    "SD1.5",
    Injection.ATTENTION_SHARING,
    decoder=WeightFile(
        "layer_sd15_vae_transparent_decoder",
        Holds.TRANSPARENCY_DECODER,
        (208266320,),
        "6df4712dfbb3783231b22f869a5da5cbfea782ebb05f782bd9e8744bfb0cdf03",
    ),
    encoder=WeightFile(
        "layer_sd15_vae_transparent_encoder", Holds.TRANSPARENCY_ENCODER, (2365008, 4728544), ""
    ),
    side=512,
)
SDXL = Family(
    "sdxl",
    "SDXL",
    Injection.WEIGHT_PATCH,
    decoder=WeightFile(
        "vae_transparent_decoder",
        Holds.TRANSPARENCY_DECODER,
        (208266320,),
        "59dc8feefe40d26b6cb7186aed7af70c60d94ac4f9db8ebe7f121a01ba27a2fc",
    ),
    encoder=WeightFile("vae_transparent_encoder", Holds.TRANSPARENCY_ENCODER, (2365008, 4728544), ""),
)
_RGBA_VAE = WeightFile(
    "anima_rgba_vae",
    Holds.RGBA_VAE,
    (507611920,),
    repository=ANIMA_RGBA,
    folder="vae",
    others=((253816616, "the VAE of Qwen-Image-Layered"), (253816424, "the VAE of Qwen-Image-Layered")),
)
ANIMA = Family(
    "anima",
    "Anima",
    Injection.LORA,
    decoder=_RGBA_VAE,
    encoder=_RGBA_VAE,
    engine="anima",
    channels=16,
    blocks=28,
    words="transparent background",
    experimental=True,
)
FAMILIES = (SD15, SDXL, ANIMA)
"""Those with weight files."""
NO_FILE = WeightFile("", Holds.NOTHING, (0,))
ANY = Family("any", "any", Injection.NONE, decoder=NO_FILE, encoder=NO_FILE)

_FG, _BG, _BLEND = Layer.FOREGROUND, Layer.BACKGROUND, Layer.BLENDED

METHODS: tuple[Method, ...] = (
    Method(
        "(SD1.5) Only Generate Transparent Image (Attention Injection)",
        SD15,
        WeightFile(
            "layer_sd15_transparent_attn",
            Holds.ATTENTION_SHARING,
            (350266608,),
            "cc9ee87452bf1ccdd419035bf9618f6bdcaac1a2d3e23694d62e5a9c721da295",
        ),
    ),
    Method(
        "(SD1.5) From Foreground to Background (need batch size 2)",
        SD15,
        WeightFile(
            "layer_sd15_fg2bg",
            Holds.ATTENTION_SHARING,
            (562982312,),
            "5bade856ec3e55d6ceb0e35bbc97cea7fa4953f7776c8032f2fe52ba740ed580",
        ),
        pictures=(_FG,),
        outputs=(_BG, _BLEND),
        aliases=("(SD1.5) From Foreground to Background",),
    ),
    Method(
        "(SD1.5) From Background to Foreground (need batch size 2)",
        SD15,
        WeightFile(
            "layer_sd15_bg2fg",
            Holds.ATTENTION_SHARING,
            (562982312,),
            "8367f976da1cc4275e513c7fb40f977ca312e79e720d7db7ae94978a9359fb62",
        ),
        pictures=(_BG,),
        outputs=(_FG, _BLEND),
        aliases=("(SD1.5) From Background to Foreground",),
    ),
    Method(
        "(SD1.5) Generate Everything Together (need batch size 3)",
        SD15,
        WeightFile(
            "layer_sd15_joint",
            Holds.ATTENTION_SHARING,
            (554404208,),
            "2cc81c33c1a786bdc376c6d1bfb43dbdffda2f610f7c6b4ebd776505a29712bd",
        ),
        outputs=(_FG, _BG, _BLEND),
        aliases=("(SD1.5) Generate Everything Together",),
    ),
    Method(
        "(SDXL) Only Generate Transparent Image (Attention Injection)",
        SDXL,
        WeightFile(
            "layer_xl_transparent_attn",
            Holds.WEIGHT_PATCH,
            (743352688,),
            "b7919c5b4837fb64f24c97a7abdf1a9c6e8d60de080a5dae089dde098266df95",
        ),
        aliases=("Only Generate Transparent Image (Attention Injection)",),
    ),
    Method(
        "(SDXL) Only Generate Transparent Image (Conv Injection)",
        SDXL,
        WeightFile(
            "layer_xl_transparent_conv",
            Holds.WEIGHT_PATCH,
            (3619745776,),
            "5ee958d80dcd515fa7ac915274c536fadd3db5d919adeb5ff45107b6169aacc7",
        ),
        aliases=("Only Generate Transparent Image (Conv Injection)",),
    ),
    Method(
        "(SDXL) From Foreground to Blending",
        SDXL,
        WeightFile(
            "layer_xl_fg2ble",
            Holds.WEIGHT_PATCH,
            (701981624,),
            "50a29851ad56308f14d6c9ed375be17df6921efeca240b31f567f6b8c76d1e70",
        ),
        pictures=(_FG,),
        outputs=(_BLEND,),
        aliases=("From Foreground to Blending",),
    ),
    Method(
        "(SDXL) From Foreground and Blending to Background",
        SDXL,
        WeightFile(
            "layer_xl_fgble2bg",
            Holds.WEIGHT_PATCH,
            (702004664,),
            "179a61fdcdb149af1897b2840f24ba09466ab6265b2c792b0e99df557f0439be",
        ),
        pictures=(_FG, _BLEND),
        outputs=(_BG,),
        aliases=("From Foreground and Blending to Background",),
    ),
    Method(
        "(SDXL) From Background to Blending",
        SDXL,
        WeightFile(
            "layer_xl_bg2ble",
            Holds.WEIGHT_PATCH,
            (701981624,),
            "2901d1353cc4ca763c8bedc48453b36e88680605f417c7f7ec730a7c36845d7c",
        ),
        pictures=(_BG,),
        outputs=(_BLEND,),
        aliases=("From Background to Blending",),
    ),
    Method(
        "(SDXL) From Background and Blending to Foreground",
        SDXL,
        WeightFile(
            "layer_xl_bgble2fg",
            Holds.WEIGHT_PATCH,
            (702004664, 3619745776),
            "1688f0c17447f74662686fadd431f24d26a1ba8ffea322c6f56c8b5ed581b78d",
        ),
        pictures=(_BG, _BLEND),
        outputs=(_FG,),
        aliases=("From Background and Blending to Foreground",),
    ),
    Method(
        "(Anima) Only Generate Transparent Image (RGBA VAE)",
        ANIMA,
        WeightFile("anima_rgba_lora", Holds.LORA, (183572832,), repository=ANIMA_RGBA, folder="loras"),
    ),
    Method("(Any) Keep Transparency", ANY, NO_FILE),
)

RELEASED: tuple[Method, ...] = tuple(m for m in METHODS if m.weights.repository is LAYERDIFFUSION and m.files)
"""The ten of the released extension."""
KEEP = METHODS[-1]

_FILES = [method.weights for method in METHODS if method.files]
_FILES += [file for family in FAMILIES for file in (family.decoder, family.encoder)]
WEIGHT_FILES = tuple(dict.fromkeys(_FILES))
"""All files that methods need."""
RELEASED_FILES = tuple(file for file in WEIGHT_FILES if file.repository is LAYERDIFFUSION)
"""The fourteen of the released extension."""

FOLDER = "layer_model"
"""The folder of the weight files, in a WebUI's folder of all models."""

DEFAULT_METHOD = next(m for m in METHODS if m.family is SDXL)


def alternatives(method: Method) -> list[Method]:
    """Return the methods that make the same of the same with another weight file."""
    return [
        one
        for one in METHODS
        if one is not method
        and (one.family, one.pictures, one.outputs) == (method.family, method.pictures, method.outputs)
    ]


def find_method(name: str, methods: Iterable[Method] = METHODS) -> Method:
    """Return the method called `name`, now or in an older release.

    Raises BadSetting with the names that exist.
    """
    for method in methods:
        if name == method.label or name in method.aliases:
            return method
    known = "; ".join(m.label for m in methods)
    raise BadSetting(f'LayerDiffuse has no method "{name}". Choose one of: {known}.')
