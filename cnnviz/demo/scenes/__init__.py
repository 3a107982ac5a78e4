"""Images with known truth: little illustrated scenes, and a mask for every object in them.

:func:`scene` turns a seed into an image of one or two objects of eight kinds on a cluttered
background, and says for every object which pixels of it can be seen. The same seed gives the same
image. Colors are drawn from one palette for all kinds, so that only shape and inner structure
tell the kinds apart; size, rotation, light, background and what lies in front vary freely.

From the command line::

    python -m cnnviz.demo.scenes FOLDER --count 8
    python -m cnnviz.demo.scenes FOLDER --kinds umbrella fish --seed 3
    python -m cnnviz.demo.scenes FOLDER --count 40 --masks
    cnnviz evaluate FOLDER/images -m demo --masks FOLDER/masks
"""

from __future__ import annotations

from cnnviz.demo.scenes.compose import Object, Scene, scene
from cnnviz.demo.scenes.light import SIZE

__all__ = ["SIZE", "Object", "Scene", "scene"]
