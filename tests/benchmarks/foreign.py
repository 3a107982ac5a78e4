"""Networks of torchvision and timm with random weights, for ``sweep.py``."""

from __future__ import annotations

import re
from typing import Any

#: What small networks of a family are called.
_SMALL = re.compile(r"tiny|small|nano|pico|femto|atto|_x*s(_|$)|_?(0|05|18|26|50)(_|$)|b0")
_MOST = 4  # networks of a family among which the smallest is looked for


def candidates(package: str) -> tuple[dict[str, int], dict[str, str]]:
    """Every classifier of torchvision, or a small one of every family of timm.

    Returns:
        How many parameters each has, by its name with the package in front; and why others cannot
        be had.
    """
    if package == "torchvision":
        from torchvision import models

        return {
            f"torchvision:{name}": models.get_model_weights(name).DEFAULT.meta["num_params"]
            for name in models.list_models(module=models)
        }, {}
    import timm
    import torch

    found, left_out = {}, {}
    for family in timm.list_modules():
        names = timm.list_models(module=family)
        small = [name for name in names if _SMALL.search(name)]
        sizes = {}
        for name in (small or names)[:_MOST]:
            try:
                with torch.device("meta"):
                    sizes[f"timm:{name}"] = size(build(f"timm:{name}"))
            # Some cannot be built without memory, or at all.
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                left_out[f"timm:{name}"] = str(error)
        if sizes:
            smallest = min(sizes, key=lambda name: sizes[name])
            found[smallest] = sizes[smallest]
    return found, left_out


def size(module: Any) -> int:
    """How many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def build(name: str) -> Any:
    """A network with random weights."""
    package, _, model = name.partition(":")
    if package == "timm":
        import timm

        return timm.create_model(model, pretrained=False)
    from torchvision import models

    # Their own initialization, by rejection, takes minutes.
    further = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
    return models.get_model(model, weights=None, **further)


def image_size(name: str, module: Any) -> tuple[int, int, int]:
    """(C, H, W), as the package configures it."""
    if name.startswith("timm:"):
        return tuple(module.pretrained_cfg.get("input_size", (3, 224, 224)))
    return (3, 299, 299) if "inception" in name else (3, 224, 224)


def seed(module: Any) -> None:
    """No weight is left at 0 or 1, where a wrong reading could hide, and no statistic either."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1 and parameter.std() < 1e-4:
                if parameter.abs().max() < 1e-3:
                    parameter.normal_(0, 0.05)
                else:
                    parameter.mul_(torch.empty_like(parameter).uniform_(0.8, 1.2))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.8, 1.2)
