"""cnnviz shows where an image classifier looked.

    import cnnviz
    (explanation,) = cnnviz.explain("photo.jpg", model="demo")
    explanation.top()            # classes with their probabilities
    explanation.maps["gradcam"]  # raw, at the layer's own resolution
    explanation.images           # as they are written
    explanation.save("maps")

Importing this package is cheap: the names below are looked up when they are first used, and NumPy,
OpenCV and the frameworks come with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cnnviz._version import __version__ as __version__

if TYPE_CHECKING:
    from cnnviz.api import explain as explain
    from cnnviz.attribution import choose_methods as choose_methods
    from cnnviz.engines.mxnet.runtime import import_mxnet as import_mxnet
    from cnnviz.engines.network import Network as Network
    from cnnviz.errors import CnnvizError as CnnvizError
    from cnnviz.explainer import Explainer as Explainer
    from cnnviz.explanation import Explanation as Explanation
    from cnnviz.images.decode import read_image as read_image
    from cnnviz.images.input_spec import InputSpec as InputSpec
    from cnnviz.importers.gluon import from_gluon as from_gluon
    from cnnviz.models.resolve import load as load
    from cnnviz.outputs.provenance import about as about
    from cnnviz.rendering.style import Style as Style

_PUBLIC = {
    "CnnvizError": "cnnviz.errors",
    "Explainer": "cnnviz.explainer",
    "Explanation": "cnnviz.explanation",
    "InputSpec": "cnnviz.images.input_spec",
    "Network": "cnnviz.engines.network",
    "Style": "cnnviz.rendering.style",
    "about": "cnnviz.outputs.provenance",
    "choose_methods": "cnnviz.attribution",
    "explain": "cnnviz.api",
    "from_gluon": "cnnviz.importers.gluon",
    "import_mxnet": "cnnviz.engines.mxnet.runtime",
    "load": "cnnviz.models.resolve",
    "read_image": "cnnviz.images.decode",
}
__all__ = [*_PUBLIC, "__version__"]


def __dir__() -> list[str]:
    """What there is, also of what was not used yet."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
