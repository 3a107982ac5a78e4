"""captum and pytorch-grad-cam beside the engine, on one device: VGG-16, Grad-CAM and guided maps.

What `gpu.py` calls where they can be imported. Both get the network as a module with the same
weights, and the batch as a NumPy array; both give NumPy arrays. captum's weights are frozen;
pytorch-grad-cam is as shipped, whose guided backpropagation takes one image at a time.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from compare_peers import stand_in_for_torchvision, vgg16_module
from networks import TARGET, apart, images, maps, network

from cnnviz.engines.base import Device
from cnnviz.engines.torch.engine import TorchEngine
from cnnviz.engines.torch.runtime import arithmetic, import_torch, torch_device
from cnnviz.graph.graph import Value

#: The layer of the network's default one: its last convolution.
LAYER = 28
#: Relative L2, of the median image: two ways to compute the same round differently.
MOST = {"fp32": 1e-3, "tf32": 1e-1}
#: Images one at a time take long.
MOST_ONE_BY_ONE = 8

Pass = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def compare(
    device: Device, precisions: Sequence[str], batches: Sequence[int], rounds: int, small: bool
) -> list[str]:
    """Print times at the precisions that all have; whose maps disagree."""
    makers = {"captum": captum_pass, "pytorch_grad_cam": gradcam_pass}
    stand_in_for_torchvision()
    present = [name for name in makers if _imports(name)]
    if not present:
        print("\nNeither captum nor pytorch-grad-cam can be imported.")
        return []
    size = (3, 64, 64) if small else None
    architecture, parameters = network("vgg16", size)
    torch = import_torch()
    module = vgg16_module(architecture.input_shape[1] // 32)
    with torch.no_grad():
        for own, array in zip(module.parameters(), parameters.values(), strict=True):
            own.copy_(torch.from_numpy(array))
    module.to(torch_device(device))
    at = Value(architecture.layer(f"features.{LAYER}").index)
    wrong = []
    print("\nms an image of VGG-16's Grad-CAM and guided gradients, batch: ours, peers' by ours")
    for precision in (each for each in precisions if each in MOST):
        engine = TorchEngine(architecture.graph, parameters, device, precision=precision)
        for count in batches:
            batch = images(architecture.graph, count)
            ours = timed(lambda batch=batch, engine=engine: maps(engine, batch, at), rounds, 3)
            row = f"{precision:6}{count:4}: {1000 * ours[0] / count:8.3f}"
            for name in present:
                if name == "pytorch_grad_cam" and count > MOST_ONE_BY_ONE:
                    continue
                with arithmetic(device, precision):
                    work = makers[name](module, device)
                    theirs = timed(lambda batch=batch, work=work: work(batch), rounds, 1)
                far = distance(ours[1], theirs[1])
                row += f"   {name} {theirs[0] / ours[0]:.2f} ({far:.0e} apart)"
                if far > MOST[precision]:
                    wrong.append(f"{name} in {precision}")
            print(row, flush=True)
    return wrong


def _imports(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def timed(work: Callable[[], Any], rounds: int, warm: int) -> tuple[float, Any]:
    """Median seconds, and what came out."""
    for _ in range(warm):
        work()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        found = work()
        took.append(time.perf_counter() - began)
    return float(np.median(took)), found


def distance(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Of the maps of the median image, the further one."""
    _, activations, gradient, guided = ours
    cam = np.maximum((gradient.mean((2, 3), keepdims=True) * activations).sum(1), 0)
    return max(
        float(np.median([apart(one, other) for one, other in zip(mine, own, strict=True)]))
        for mine, own in zip((cam, guided), theirs, strict=True)
    )


def captum_pass(module: Any, device: Device) -> Pass:
    """LayerGradCam and GuidedBackprop, weights frozen."""
    torch = import_torch()
    from captum.attr import GuidedBackprop, LayerGradCam

    warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU activations")
    module.requires_grad_(False)
    cams = LayerGradCam(module, module.features[LAYER])
    guided = GuidedBackprop(module)

    def explain(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tensor = torch.from_numpy(batch).to(torch_device(device)).requires_grad_()
        cam = cams.attribute(tensor, target=TARGET, relu_attributions=True)
        gradient = guided.attribute(tensor, target=TARGET)
        return cam[:, 0].detach().cpu().numpy(), gradient.detach().cpu().numpy()

    return explain


def gradcam_pass(module: Any, device: Device) -> Pass:
    """GradCAM and GuidedBackpropReLUModel, the map before it is enlarged and normalized."""
    torch = import_torch()
    from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module.requires_grad_(True)
    place = torch_device(device)

    class Raw(GradCAM):  # type: ignore[misc]
        def get_cam_image(self, *arguments: Any, **options: Any) -> Any:
            cam = super().get_cam_image(*arguments, **options)
            raw.append(np.maximum(cam, 0))
            return cam

    raw: list[np.ndarray] = []

    def explain(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raw.clear()
        with Raw(module, [module.features[LAYER]]) as method:
            tensor = torch.from_numpy(batch).to(place)
            method(tensor, targets=[ClassifierOutputTarget(TARGET)] * len(batch))
        guided = GuidedBackpropReLUModel(module, device=place)
        gradients = [
            guided(torch.from_numpy(batch[n : n + 1]).to(place), target_category=TARGET)
            for n in range(len(batch))
        ]
        return raw[0], np.stack(gradients).transpose(0, 3, 1, 2)

    return explain
