"""How files spell the parameters of the RGBA VAE, brought to the one spelling that the network has.

There are three: Wan's, which ComfyUI takes over, with convolutions in time; that of the diffusers library,
with the same shapes; and Wan's names over plain convolutions. Merged checkpoints put a prefix before each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

PREFIXES = ("vae.", "first_stage_model.")

_ENDS = (
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"^encoder\.down_blocks\.", "encoder.downsamples."),
)
_WITHIN = (
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
)
_UP = re.compile(r"^decoder\.up_blocks\.(\d+)\.(?:resnets\.(\d+)|upsamplers\.0)\.")
_BLOCK = re.compile(r"\.(?:mid_block\.resnets|down_blocks|up_blocks)\.")


def plain_name(name: str) -> str:
    """Return a parameter's name as the network has it."""
    is_block = _BLOCK.search(name)
    if is_block:
        for pattern, instead in _WITHIN:
            name = re.sub(pattern, instead, name)
    for pattern, instead in _ENDS:
        name = re.sub(pattern, instead, name)
    return _UP.sub(lambda found: f"decoder.upsamples.{4 * int(found[1]) + int(found[2] or 3)}.", name)


def plain_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that matter for one picture, as the network has them.

    Convolutions in time have two empty frames before a single picture, so their last tap is the plain one.
    `time_conv` begins with a second frame; it may be there or not.
    """
    prefix = next((one for one in PREFIXES if state and all(name.startswith(one) for name in state)), "")
    plain = {}
    for name, tensor in state.items():
        if ".time_conv." in name:
            continue
        if name.endswith(".gamma"):
            tensor = tensor.reshape(-1, 1, 1)
        elif tensor.ndim == 5:
            tensor = tensor[:, :, -1]
        plain[plain_name(name.removeprefix(prefix))] = tensor
    return plain
