"""How every operator of PyTorch's that is known is read."""

from __future__ import annotations

from cnnviz.importers.torch_elementwise import ELEMENTWISE
from cnnviz.importers.torch_layers import LAYERS
from cnnviz.importers.torch_layout import LAYOUT
from cnnviz.importers.torch_norms import NORMS
from cnnviz.importers.torch_parts import PARTS
from cnnviz.importers.torch_products import PRODUCTS
from cnnviz.importers.torch_recurrent import RECURRENT
from cnnviz.importers.torch_reductions import REDUCTIONS
from cnnviz.importers.torch_table import Table

FUNCTIONS = Table(
    {
        **LAYERS,
        **PRODUCTS,
        **NORMS,
        **RECURRENT,
        **ELEMENTWISE,
        **REDUCTIONS,
        **LAYOUT,
        **PARTS,
    }
)
