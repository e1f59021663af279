"""Whether a job's checkpoint fits its method: its family, its input, and the places of the layer file."""

from __future__ import annotations

from lib_layerdiffusion.errors import UnsupportedBaseModel, UnsupportedMethod
from lib_layerdiffusion.files import layer_patch
from lib_layerdiffusion.hosts.base import Host, Job
from lib_layerdiffusion.methods import Injection, Method
from lib_layerdiffusion.networks import LayerFile, Networks


def check(host: Host, p: Job, method: Method) -> None:
    """Raise UnsupportedBaseModel or UnsupportedMethod unless the loaded checkpoint fits."""
    base, family = host.base_model(p), method.family
    if not host.runs(family):
        raise UnsupportedMethod(
            f'{host.capabilities.webui} has no {family.title} models, so "{method.label}" cannot be used in '
            "it. Use a WebUI that has them, or another method."
        )
    if base.family != family.key:
        raise UnsupportedBaseModel(
            f'"{method.label}" needs an {family.title} checkpoint, but {base.title} is loaded. '
            f"Select an {family.title} checkpoint or another method."
        )
    if base.inpainting and method.pictures and family.injection is Injection.WEIGHT_PATCH:
        raise UnsupportedMethod(
            f'"{method.label}" cannot use the inpainting checkpoint {base.title}: both need the '
            "extra input channels. Select an ordinary checkpoint."
        )


def check_later(host: Host, p: Job, method: Method) -> None:
    """Raise UnsupportedBaseModel unless the checkpoints fit that the job will go on with."""
    family = method.family
    for role, base in host.later_models(p).items():
        if base.family != family.key:
            raise UnsupportedBaseModel(
                f'"{method.label}" needs an {family.title} checkpoint, but {base.title} is chosen '
                f"as {role}. Choose an {family.title} checkpoint there, or none."
            )


def lora_of(host: Host, networks: Networks, p: Job, method: Method) -> LayerFile:
    """Return the method's LoRA for the loaded checkpoint. Raises WeightsError and WrongWeights."""
    return networks.lora_file(method, host.unet_parameters(p), host.base_model(p).title)


def check_weights(host: Host, networks: Networks, p: Job, method: Method) -> None:
    """Raise WeightsError or WrongWeights unless the layer file can be read and fits the checkpoint."""
    if method.family.injection is Injection.ATTENTION_SHARING:
        networks.sharing(method, host.unet_dtype(p))
        return
    if method.family.injection is Injection.LORA:
        lora_of(host, networks, p, method)
        return
    file = networks.layer_file(method)
    layer_patch.check(
        file.shapes,
        host.unet_parameters(p),
        conditions=len(method.pictures),
        filename=file.filename,
        base=host.base_model(p).title,
    )
