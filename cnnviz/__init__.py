"""cnnviz shows where a convolutional network looked.

Importing this package is cheap: it does not import MXNet, OpenCV or NumPy.
"""

__version__ = "0.1.0"
