"""The operators that every engine is tried with, and which it cannot run."""

from __future__ import annotations

from cnnviz.graph import operators as op

IMAGE = (4, 6, 5)
VECTOR = (6,)
ROWS = (4, 7)
STACK = (3, 2, 4, 3)  # three windows of an image

#: The operator, the shape of the images, and those of its parameters.
CASES = [
    (op.Abs(), IMAGE, ()),
    (op.AdaptiveAvgPool2d((4, 2)), IMAGE, ()),
    (op.AdaptiveMaxPool2d((4, 2)), IMAGE, ()),
    (op.AdaptiveMaxPool2d((3, 5)), IMAGE, ()),
    (op.Affine(2.5), IMAGE, ()),
    (op.Affine(1.0, -0.5), IMAGE, ()),
    (op.Affine(-1.0, 3.0), IMAGE, ()),
    (op.Affine(2.0, 3.0), IMAGE, ()),
    (op.AvgPool2d((2, 3), (2, 1)), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), (1, 1, 1, 1)), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=False), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), ceil_mode=True), IMAGE, ()),
    (op.AvgPool2d((3, 2), (2, 1), (0, 1, 1, 0)), IMAGE, ()),
    (op.AvgPool2d((3, 3), (2, 2), (0, 1, 1, 1), count_include_pad=False), IMAGE, ()),
    (op.BatchNorm(1e-3), IMAGE, ((4,),) * 4),
    (op.BatchNorm(1e-5, fixed_scale=True), IMAGE, ((4,),) * 4),
    (op.BatchNorm(1e-5, axis=2), IMAGE, ((5,),) * 4),
    (op.BatchNorm(1e-3), VECTOR, ((6,),) * 4),
    (op.BatchNorm(1e-3), ROWS, ((4,),) * 4),
    (op.Clip(-0.5, 1.25), IMAGE, ()),
    (op.Clip(lower=0.5), IMAGE, ()),
    (op.Clip(upper=-0.5), IMAGE, ()),
    (op.Conv2d(3, (3, 2)), IMAGE, ((3, 4, 3, 2), (3,))),
    (op.Conv2d(3, (3, 3), padding=(1, 1, 1, 1)), IMAGE, ((3, 4, 3, 3),)),
    (op.Conv2d(4, (3, 3), (2, 2), (1, 2, 1, 2)), IMAGE, ((4, 4, 3, 3), (4,))),
    (op.Conv2d(2, (2, 2), dilation=(2, 3)), IMAGE, ((2, 4, 2, 2),)),
    (op.Conv2d(6, (3, 1), padding=(2, 0, 2, 0), groups=2), IMAGE, ((6, 2, 3, 1), (6,))),
    (op.Conv2d(4, (3, 3), padding=(1, 1, 1, 1), groups=4), IMAGE, ((4, 1, 3, 3),)),
    (op.Conv2d(2, (3, 2), (2, 1), (0, 1, 1, 0), groups=2), IMAGE, ((2, 2, 3, 2), (2,))),
    (op.Conv2d(4, (2, 3), (2, 1), (1, 1, 1, 1)), STACK, ((4, 2, 2, 3), (4,))),
    (op.Conv2d(2, (2, 2), padding=(0, 1, 1, 1), groups=2), STACK, ((2, 1, 2, 2),)),
    (op.Conv2d(3, (1, 1)), (2, *STACK), ((3, 2, 1, 1),)),
    (op.ConvTranspose2d(3, (2, 3)), (4, 3, 3), ((4, 3, 2, 3), (3,))),
    (op.ConvTranspose2d(1, (2, 2), (1, 2)), STACK, ((2, 1, 2, 2), (1,))),
    (
        op.ConvTranspose2d(2, (3, 3), (2, 2), (1, 1, 1, 1), output_padding=(1, 1)),
        (4, 3, 3),
        ((4, 2, 3, 3),),
    ),
    (op.ConvTranspose2d(4, (2, 2), groups=2), (4, 3, 3), ((4, 2, 2, 2),)),
    (op.Cos(), IMAGE, ()),
    (op.ELU(0.7), IMAGE, ()),
    (op.Erf(), IMAGE, ()),
    (op.Exp(), IMAGE, ()),
    (op.Expand((4, 3, 5)), (4, 1, 5), ()),
    (op.Expand((2, 3, 6)), (3, 1), ()),
    (op.Flatten(), IMAGE, ()),
    (op.Flatten(), (), ()),
    (op.Fold((2, 3), (2, 1), (1, 1, 1, 1), (1, 2), size=(5, 4)), (12, 6), ()),
    (op.Fold((2, 2), (2, 2), size=(6, 4)), (8, 6), ()),
    (op.Fold((2, 2), padding=(0, 1, 1, 0), size=(2, 3)), (4, 6), ()),
    (op.GELU(), IMAGE, ()),
    (op.GELU(approximate=True), IMAGE, ()),
    (op.GlobalAvgPool2d(), IMAGE, ()),
    (op.GlobalMaxPool2d(), IMAGE, ()),
    (op.GroupNorm(2, 1e-3), IMAGE, ((2,), (2,))),
    (op.GroupNorm(2, 1e-3), IMAGE, ((4,), (4,))),
    (op.GroupNorm(4, 1e-3), IMAGE, ((4,), (4,))),
    (op.GroupNorm(2, 1e-3), VECTOR, ((6,), (6,))),
    (op.GroupNorm(2, 1e-3), ROWS, ((4,), (4,))),
    (op.HardSigmoid(0.4, 0.3), IMAGE, ()),
    (op.HardSwish(), IMAGE, ()),
    (op.Identity(), IMAGE, ()),
    (op.InstanceNorm(1e-3), IMAGE, ((4,), (4,))),
    (op.LSTM(2), ROWS, ((8, 7), (8, 2), (8,))),
    (op.LSTM(3, reverse=True), IMAGE, ((12, 5), (12, 3), (12,))),
    (op.LSTM(1), STACK, ((4, 3), (4, 1), (4,))),
    (op.LayerNorm((-1,), 1e-3), IMAGE, ((5,), (5,))),
    (op.LayerNorm((0,), 1e-3), VECTOR, ((6,), (6,))),
    (op.LayerNorm((0, 2), 1e-3), IMAGE, ((4, 5), (4, 5))),
    (op.LayerNorm((-2, -1), 1e-3), IMAGE, ((6, 5), (6, 5))),
    (op.LeakyReLU(0.2), IMAGE, ()),
    (op.Linear(5), IMAGE, ((5, 120), (5,))),
    (op.Linear(3), VECTOR, ((3, 6),)),
    (op.Linear(3, flatten=False), IMAGE, ((3, 5), (3,))),
    (op.LocalResponseNorm(3, 0.5, 0.75, 1.5), IMAGE, ()),
    (op.MatMul(), IMAGE, ((5, 3),)),
    (op.MatMul(), IMAGE, ((4, 5, 3),)),
    (op.MatMul(), (1, 6, 5), ((5, 3),)),
    (op.MatMul(), (1, 6, 5), ((3, 5, 3),)),
    (op.Max((2,)), IMAGE, ()),
    (op.Max((0, 2), keep_axes=True), IMAGE, ()),
    (op.MaxPool2d((2, 2), (2, 2)), IMAGE, ()),
    (op.MaxPool2d((3, 3), (1, 1), (1, 1, 1, 1)), IMAGE, ()),
    (op.MaxPool2d((3, 3), (2, 2), (0, 0, 1, 1)), IMAGE, ()),
    (op.MaxPool2d((3, 2), (2, 2), ceil_mode=True), IMAGE, ()),
    (op.MaxPool2d((2, 3), (1, 2), (1, 1, 1, 1), True, dilation=(2, 1)), IMAGE, ()),
    (op.MaxPool2d((2, 2), (2, 2), (1, 1, 1, 1), True), IMAGE, ()),
    (op.Mean((1, 2)), IMAGE, ()),
    (op.Mean((0,), keep_axes=True), IMAGE, ()),
    (op.Min((1, 2)), IMAGE, ()),
    (op.Min((0,), keep_axes=True), IMAGE, ()),
    (op.Mish(), IMAGE, ()),
    (op.PReLU(), IMAGE, ((4,),)),
    (op.PReLU(), VECTOR, ((6,),)),
    (op.PReLU(), ROWS, ((4,),)),
    (op.Pad(((0, 0), (1, 3), (2, 0)), value=0.5), IMAGE, ()),
    (op.Pad(((0, 0), (1, 0), (2, 1)), "edge"), IMAGE, ()),
    (op.Pad(((0, 0), (1, 0), (2, 1)), "reflect"), IMAGE, ()),
    (op.Pad(((0, 0), (2, 3), (1, 2)), "wrap"), IMAGE, ()),
    (op.Pad(((1, 0), (0, 0), (0, 2)), value=-1.0), IMAGE, ()),
    (op.Pad(((1, 2), (0, 2)), "reflect"), ROWS, ()),
    (op.Pad(((2, 0), (1, 3), (0, 0)), "edge"), IMAGE, ()),
    (op.Pad(((0, 0), (1, 2), (0, 0), (0, 3))), STACK, ()),
    (op.Pad(((1, 0), (0, 1), (0, 2))), IMAGE, ()),
    (op.Pad(((1, 2),), value=2.0), VECTOR, ()),
    (op.Power(2.0), IMAGE, ()),
    (op.Power(3.0), IMAGE, ()),
    (op.ReLU(), IMAGE, ()),
    (op.ReLU(0.5), IMAGE, ()),
    (op.ReLU(standalone=False), IMAGE, ()),
    (op.Reshape((2, 60)), IMAGE, ()),
    *(
        (op.Resize2d(size, "nearest", coordinates, rounding), (2, 4, 5), ())
        for coordinates in ("half_pixel", "align_corners", "asymmetric")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for size in ((6, 3), (8, 10))
    ),
    *(
        (op.Resize2d(size, mode, coordinates), (2, 4, 5), ())
        for mode in ("bilinear", "bicubic")
        for coordinates in ("half_pixel", "align_corners", "asymmetric")
        for size in ((6, 3), (1, 8))
    ),
    (op.Resize2d((7, 7), "bicubic", cubic=-0.5), (2, 4, 5), ()),
    (op.SELU(), IMAGE, ()),
    (op.SiLU(), IMAGE, ()),
    (op.Sigmoid(), IMAGE, ()),
    (op.Sin(), IMAGE, ()),
    (op.Slice((1, 0, 1), (4, 6, 5), (1, 2, 3)), IMAGE, ()),
    (op.Slice((0, 1, 0, 0, 1), (2, 3, 2, 2, 3), (1, 2, 1, 1, 1)), (2, 3, 2, 2, 3), ()),
    (op.Slice((1, 0, 0, 0, 0), (2, 3, 2, 2, 3), (1, 1, 1, 1, 1)), (2, 3, 2, 2, 3), ()),
    (op.Take(2, (1,)), (2, 3, 2, 2, 3), ()),
    (op.Softmax(), IMAGE, ()),
    (op.Softmax(0), IMAGE, ()),
    (op.Softmax(1), ROWS, ()),
    (op.Softplus(), IMAGE, ()),
    (op.Softsign(), IMAGE, ()),
    (op.Sum((1, 2)), IMAGE, ()),
    (op.Take(0, (2, 0, 2)), IMAGE, ()),
    (op.Take(2, (4,)), IMAGE, ()),
    (op.Tanh(), IMAGE, ()),
    (op.Transpose((2, 0, 1)), IMAGE, ()),
    (op.Unfold((3, 2), (2, 1), (1, 1, 1, 1), (1, 2)), IMAGE, ()),
    (op.Unfold((2, 2), (2, 2)), IMAGE, ()),
    (op.Unfold((2, 2), padding=(0, 1, 1, 0)), IMAGE, ()),
]
#: Those that are defined above 0.
POSITIVE = [op.Log(), op.Power(0.5), op.Power(-1.5), op.Power(0.0)]
#: Of two values that both come from the images: the first as it is, the second twice that, plus 5.
BINARY = [
    *(op.Add(), op.Subtract(), op.Multiply(), op.Divide(), op.Maximum(), op.Minimum()),
    *(op.Concat(), op.Concat(axis=2)),
]
#: What an engine has no operator for, and says so: kinds, operators, or cases of the above.
LACKING = {
    "mxnet": (
        op.Resize2d,
        op.AdaptiveMaxPool2d((4, 2)),
        op.AdaptiveMaxPool2d((3, 5)),
        op.Take(0, (2, 0, 2)),  # It takes what stands evenly, in order.
        # It scales each group of channels, and takes no values without height and width.
        (op.GroupNorm(2, 1e-3), IMAGE, ((4,), (4,))),
        (op.GroupNorm(2, 1e-3), VECTOR, ((6,), (6,))),
        (op.GroupNorm(2, 1e-3), ROWS, ((4,), (4,))),
        # It cuts both sides off alike, and has no mean of what is not padding.
        op.Fold((2, 2), padding=(0, 1, 1, 0), size=(2, 3)),
        op.AvgPool2d((3, 3), (2, 2), (0, 1, 1, 1), count_include_pad=False),
        # It goes along one axis.
        op.LayerNorm((0, 2), 1e-3),
        op.LayerNorm((-2, -1), 1e-3),
        # Its max pooling has no dilation.
        op.MaxPool2d((2, 3), (1, 2), (1, 1, 1, 1), True, dilation=(2, 1)),
        # It has a window that lies in the padding alone.
        op.MaxPool2d((2, 2), (2, 2), (1, 1, 1, 1), True),
        # It pads two axes, by three of the four modes.
        op.Pad(((0, 0), (2, 3), (1, 2)), "wrap"),
        op.Pad(((1, 0), (0, 1), (0, 2))),
    ),
    "torch": (),
}
