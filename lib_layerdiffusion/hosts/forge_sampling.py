"""What happens at every step of a patched sampling on Forge: the condition latents, and Stop At."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lib_layerdiffusion.errors import UnsupportedMethod

Conditions = list[dict[str, Any]]


class AwaitedCalls:
    """Watches that a function which should be called at every step is called at all.

    Hosts have one place for such a function. Whoever takes it may call ours, or leave out single steps.
    """

    def __init__(self) -> None:
        self._awaited = self._came = False

    def __deepcopy__(self, memo: dict[int, Any]) -> AwaitedCalls:
        return self

    def came(self) -> None:
        self._came = True

    def await_next(self) -> None:
        """Say that a call should follow. Raises UnsupportedMethod if none that should have did."""
        if self._awaited and not self._came:
            raise UnsupportedMethod(
                "Another extension took the place where LayerDiffuse's SD1.5 methods work. Switch extensions "
                "that change the model off one by one to find it, or use an SDXL method."
            )
        self._awaited = True


class StepModifier:
    """A conditioning modifier: Forge calls it before every evaluation of the UNet.

    While sigma >= `sigma_end` it joins `concat` [1, 4n, h, w], if any, to the UNet's input. Below, it hands
    the evaluation to the patcher `original`. That one shares its network with ours, so on a change of
    side `prepare(patcher, x)` merges or un-merges weights. The side is decided anew at every call:
    samplers that restart go back up. `current()` is the patcher that samples, ours or a later clone of it;
    `make_condition` wraps a tensor so that the host repeats it to any batch. `seen` is called at every
    call; `calls` is told of every evaluation that is ours.
    """

    def __init__(
        self,
        current: Callable[[], Any],
        original: Any,
        sigma_end: float,
        concat: Tensor | None,
        prepare: Callable[[Any, Tensor], None],
        make_condition: Callable[[Tensor], Any],
        seen: Callable[[], None],
        calls: AwaitedCalls | None = None,
    ) -> None:
        self._current = current
        self._original = original
        self._sigma_end = sigma_end
        self._concat = concat
        self._prepare = prepare
        self._make_condition = make_condition
        self._seen = seen
        self._calls = calls
        self._stopped = False

    def __deepcopy__(self, memo: dict[int, Any]) -> StepModifier:
        # a patcher's options are copied deeply when it is cloned; tensors and patchers must not be
        return self

    def __call__(
        self,
        model: Any,
        x: Tensor,
        timestep: Tensor,
        uncond: Conditions | None,
        cond: Conditions,
        cond_scale: float,
        model_options: dict[str, Any],
        seed: Any,
    ) -> tuple[Any, ...]:
        self._seen()
        stopped = float(timestep.max()) < self._sigma_end
        if stopped != self._stopped:
            self._prepare(self._original if stopped else self._current(), x)
            self._stopped = stopped
        if stopped:
            model, model_options = self._original.model, self._original.model_options
        else:
            if self._calls is not None:
                self._calls.await_next()
            if self._concat is not None:
                for entry in [*cond, *(uncond or [])]:
                    entry["model_conds"]["c_concat"] = self._make_condition(self._concat.to(x))
        return model, x, timestep, uncond, cond, cond_scale, model_options, seed
