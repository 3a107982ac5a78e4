"""Explanation methods, by name.

:data:`METHODS` is the one list of them: the command line, the README check and the contract tests
read it. A new method is a class in this folder and one line here.
"""

from __future__ import annotations

from cnnviz.attribution.cam import GradCam
from cnnviz.attribution.gradients import GuidedBackprop, GuidedGradCam, Saliency
from cnnviz.attribution.methods import Drawing, Evidence, Method, gather

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (GradCam, GuidedBackprop, GuidedGradCam, Saliency)
}
DEFAULT_METHODS = ("gradcam", "guided-gradcam", "saliency")

__all__ = ["DEFAULT_METHODS", "METHODS", "Drawing", "Evidence", "Method", "Saliency", "gather"]
