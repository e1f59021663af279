"""The training loop of every stage: seeded by step, resumable, with a moving average of the weights.

A stage runs where the parameters of its module are.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

Loss = Callable[[int], Mapping[str, Tensor]]
"""Step number -> named parts of the loss; "loss" is what is minimised. Must depend on the step alone."""


@dataclass(frozen=True)
class Plan:
    """`average` is the decay of the moving average of the weights, which is what a stage results in."""

    name: str
    steps: int
    rate: float
    warmup: int = 100
    average: float = 0.998
    clip: float = 1.0
    save_seconds: float = 120.0
    weight_decay: float = 0.0


def rate_at(plan: Plan, step: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    share = min(1.0, max(0, step - plan.warmup) / max(1, plan.steps - plan.warmup))
    cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2
    return plan.rate * min(1.0, (step + 1) / plan.warmup) * cosine


def rng(stage: str, step: int) -> np.random.Generator:
    """What a step draws its samples with: the same after a restart."""
    return np.random.default_rng([*stage.encode(), step])


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def mixed(device: torch.device) -> AbstractContextManager[object]:
    """Products in bfloat16, where the device has them."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _average(average: dict[str, Tensor], module: nn.Module, decay: float) -> None:
    for name, parameter in module.named_parameters():
        average[name].lerp_(parameter.detach(), 1 - decay)


def train(
    plan: Plan,
    folder: Path,
    module: nn.Module,
    loss: Loss,
    sheet: Callable[[Path], None] = lambda path: None,
) -> dict[str, Tensor]:
    """Train the parameters of `module` that ask for gradients, on their device; return their moving average.

    The state is kept in `folder`, where a broken-off run goes on from; `sheet` writes sample pictures of
    the module as it is then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plan.name}.pt"
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay)
    average = {name: p.detach().clone() for name, p in module.named_parameters()}
    first, spent, history = 0, 0.0, []
    device = device_of(module)
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        module.load_state_dict(state["module"], strict=True)
        optimizer.load_state_dict(state["optimizer"])
        average, first, spent, history = (state[key] for key in ("average", "step", "seconds", "history"))
    started = time.monotonic()

    def save(step: int) -> None:
        seconds = spent + time.monotonic() - started
        state = {
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average,
            "step": step,
            "done": step == plan.steps,
            "seconds": seconds,
            "history": history,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
        curve(history, folder / f"{plan.name}-loss.png")
        report = {
            "steps": step,
            "seconds": round(seconds),
            "device": str(device),
            "losses": history[-1] if history else {},
        }
        (folder / f"{plan.name}.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        own = {name: p.detach().clone() for name, p in module.named_parameters()}
        load(module, average)
        sheet(folder / f"{plan.name}-samples.png")
        load(module, own)

    sums: dict[str, Tensor] = {}
    summed = 0
    saved = time.monotonic()
    bar = tqdm(range(first, plan.steps), plan.name, initial=first, total=plan.steps, mininterval=5)
    for step in bar:
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(plan, step)
        parts = loss(step)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(parameters, plan.clip)
        optimizer.step()
        _average(average, module, min(plan.average, (1 + step) / (10 + step)))
        summed += 1
        for name, part in parts.items():
            # not as a number yet, which an accelerator would have to be waited for
            sums[name] = sums[name] + part.detach() if name in sums else part.detach()
        if (step + 1) % 50 == 0:
            means = {name: float(value) / summed for name, value in sums.items()}
            history.append({"step": float(step + 1), **means})
            bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()}, refresh=False)
            sums, summed = {}, 0
        if time.monotonic() - saved > plan.save_seconds:
            save(step + 1)
            saved = time.monotonic()
    if first < plan.steps:
        save(plan.steps)
    load(module, average)
    return average


class Untrained(Exception):
    """Shown as it is: a stage that is needed has not been run."""


def is_done(name: str, folder: Path) -> bool:
    path = folder / f"{name}.pt"
    return path.exists() and bool(torch.load(path, map_location="cpu", weights_only=True).get("done"))


def result(name: str, folder: Path, module: nn.Module) -> None:
    """Give a module the weights that a stage resulted in. Raises Untrained."""
    path = folder / f"{name}.pt"
    state = torch.load(path, map_location="cpu", weights_only=True) if path.exists() else {}
    if not state.get("done"):
        raise Untrained(f"{path} is missing or not finished: run the stage {name} first.")
    load(module, state["average"])


def load(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(values[name])


def curve(history: list[dict[str, float]], path: Path, width: int = 640, height: int = 240) -> None:
    """Draw the parts of the loss over the steps, each on a logarithmic scale of its own."""
    canvas = np.full((height, width, 3), 255, np.uint8)
    names = [name for name in (history[-1] if history else {}) if name != "step"]
    colours = [(200, 80, 30), (40, 140, 40), (40, 40, 200), (150, 60, 150), (20, 140, 160), (90, 90, 90)]
    for n, name in enumerate(names):
        values = np.log10(np.maximum([point.get(name, np.nan) for point in history], 1e-8))
        low, high = np.nanmin(values), np.nanmax(values)
        across = np.linspace(8, width - 8, len(values))
        down = 8 + (high - values) / max(high - low, 1e-9) * (height - 16)
        points = np.stack([across, down], axis=1)[np.isfinite(down)].round().astype(np.int32)
        colour = colours[n % len(colours)]
        cv2.polylines(canvas, [points[:, None]], False, colour, 1, cv2.LINE_AA)
        label = f"{name} {10 ** values[0]:.3g} to {10 ** values[-1]:.3g}"
        cv2.putText(canvas, label, (width - 250, 20 + 18 * n), 0, 0.42, colour, 1, cv2.LINE_AA)
    cv2.imwrite(str(path), canvas)
