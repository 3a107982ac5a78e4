"""The documentation: pages written by hand, and reference pages made from the code.

``python -m cnnviz.docs`` writes those of :data:`cnnviz.docs.generate.PAGES` anew.
"""
