"""What happens at every step of a patched sampling on Forge: the condition latents, and Stop At."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lib_layerdiffusion.errors import UnsupportedMethod
from lib_layerdiffusion.hosts.own_weights import OwnWeights

Conditions = list[dict[str, Any]]


class AwaitedCalls:
    """Watches that a function which should be called at every step is called at all.

    Hosts have one place for such a function. Whoever takes it may call ours, or leave out single steps.
    While `paused` the function is called, but has nothing to do.
    """

    def __init__(self) -> None:
        self._awaited = self._came = False
        self.paused = False

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

    While sigma >= `sigma_end` it joins `concat` [1, 4n, h, w], if any, to the UNet's input. Below, the model
    goes on with the weights of the patcher `original`. What `own_weights(patcher, x)` gives puts them in the
    place of the merged ones for each call. Where it gives None, `original` takes the evaluation over; that
    one shares its network with ours, so on a change of side `prepare(patcher, x)` merges or un-merges
    weights. The side is decided anew at every call: samplers that restart go back up. `current()` is the
    patcher that samples, ours or a later clone of it. Above, `worn(patcher, x)` gives the weights to wear, if
    any; where it gives None, the patcher `plain` takes the evaluation over. `make_condition` wraps a tensor
    so that the host repeats it to any batch. `seen` is called at every call; `calls` is told of every
    evaluation that is ours.
    """

    def __init__(
        self,
        current: Callable[[], Any],
        original: Any,
        sigma_end: float,
        concat: Tensor | None,
        prepare: Callable[[Any, Tensor], None],
        own_weights: Callable[[Any, Tensor], OwnWeights | None],
        make_condition: Callable[[Tensor], Any],
        seen: Callable[[], None],
        calls: AwaitedCalls | None = None,
        worn: Callable[[Any, Tensor], OwnWeights | None] | None = None,
        plain: Any = None,
    ) -> None:
        self._current = current
        self._original = original
        self._sigma_end = sigma_end
        self._concat = concat
        self._prepare = prepare
        self._own_weights = own_weights
        self._own: OwnWeights | None = None
        self._make_condition = make_condition
        self._seen = seen
        self._calls = calls or AwaitedCalls()
        self._awaits = calls is not None
        self._stopped = False
        self._worn, self._plain = worn, plain
        self._dress: OwnWeights | None = None
        self._undressed = False

    def __deepcopy__(self, memo: dict[int, Any]) -> StepModifier:
        # a patcher's options are copied deeply when it is cloned; tensors and patchers must not be
        return self

    def release(self) -> None:
        """Free the weights that were brought to the device; a later call would bring them again."""
        self._own, self._stopped, self._calls.paused = None, False, False
        self._dress, self._undressed = None, False

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
            self._change_sides(stopped, x)
        if not stopped:
            if self._awaits:
                self._calls.await_next()
            if self._concat is not None:
                for entry in [*cond, *(uncond or [])]:
                    entry["model_conds"]["c_concat"] = self._make_condition(self._concat.to(x))
            if self._worn is not None:
                model, model_options = self._dressed(self._worn, model, x, model_options)
        elif self._own is None:
            model, model_options = self._original.model, self._original.model_options
        else:
            call = self._own.around(model_options.get("model_function_wrapper"))
            model_options = {**model_options, "model_function_wrapper": call}
        return model, x, timestep, uncond, cond, cond_scale, model_options, seed

    def _dressed(
        self,
        worn: Callable[[Any, Tensor], OwnWeights | None],
        model: Any,
        x: Tensor,
        model_options: dict[str, Any],
    ) -> tuple[Any, dict[str, Any]]:
        if self._dress is None and not self._undressed:
            self._dress = worn(self._current(), x)
            self._undressed = self._dress is None
            if self._undressed:
                self._prepare(self._plain, x)
        if self._dress is None:
            return self._plain.model, self._plain.model_options
        call = self._dress.around(model_options.get("model_function_wrapper"))
        return model, {**model_options, "model_function_wrapper": call}

    def _change_sides(self, stopped: bool, x: Tensor) -> None:
        if self._own is None:
            if stopped:
                self._own = self._own_weights(self._current(), x)
            if self._own is None:
                self._prepare(self._original if stopped else self._current(), x)
        self._calls.paused = self._stopped = stopped
