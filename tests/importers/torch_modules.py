"""Small networks as people write them in PyTorch: activations in every form, and every layout.

Each takes (N, 3, 12, 16) and gives 5 class scores.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

SIZE = (3, 12, 16)
CLASSES = 5


def seeded(build: type[nn.Module], seed: int = 0) -> nn.Module:
    """A module with weights and statistics of which none is 0 or 1, in evaluation mode."""
    torch.manual_seed(seed)
    module = build()
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.3, 0.9)
    return module.eval()


class ReLUs(nn.Module):
    """ReLUs as a module that is used twice, as functions, in place, clipped and as bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, stride=2, bias=False)
        self.fourth = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8 * 2 * 3, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(self.second(x) - 0.3)
        x = F.relu(self.third(x), inplace=True)
        x = torch.relu(x - 0.1).mul(1.5).relu_()
        x = F.relu6(x * 3) - x.clamp(min=0.05)
        x = F.max_pool2d(torch.clamp_min(self.fourth(x), 0), 2, ceil_mode=True)
        x = torch.maximum(x, torch.zeros(()))
        return self.head(x.flatten(1))

    def rewritten(self, x: torch.Tensor) -> torch.Tensor:
        """The same with each ReLU as a function whose gradient is the guided one."""
        relu = Guided.apply
        x = relu(self.norm(self.first(x)))
        x = relu(self.second(x) - 0.3)
        x = relu(self.third(x))
        x = relu(relu(x - 0.1).mul(1.5))
        x = GuidedReLU6.apply(x * 3) - x.clamp(min=0.05)
        x = F.max_pool2d(relu(self.fourth(x)), 2, ceil_mode=True)
        return self.head(relu(x).flatten(1))


class Guided(torch.autograd.Function):
    """R = (z > 0) · (R' > 0) · R' (Springenberg et al. 2015, figure 1)."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (z,) = ctx.saved_tensors
        return (z > 0) * gradients[0].clamp(min=0)


class GuidedReLU6(torch.autograd.Function):
    """The same, with the derivative of a ReLU that ends at 6."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z)
        return z.clamp(0, 6)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (z,) = ctx.saved_tensors
        return (z > 0) * (z < 6) * gradients[0].clamp(min=0)


class Residual(nn.Module):
    """Blocks that add in place, with a shortcut of their own; the head has no flattening module."""

    class Block(nn.Module):
        def __init__(self, channels: int, wider: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(wider)
            self.conv2 = nn.Conv2d(wider, wider, 3, padding="same", bias=False)
            self.bn2 = nn.BatchNorm2d(wider, affine=False)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, wider, 1, stride=2), nn.BatchNorm2d(wider)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += self.shortcut(x)
            return self.relu(y)

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(self.Block(3, 6), self.Block(6, 8))
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer1(x).mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Depthwise convolutions, a gate for each channel, SiLU, hard swish and hard sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=(2, 1), padding=(1, 0))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.reduce = nn.Conv2d(8, 2, 1)
        self.expand = nn.Conv2d(2, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d((2, 3))
        self.head = nn.Linear(48, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.stem(x), inplace=True)
        x = F.hardswish(self.norm(self.depthwise(x)))
        gate = F.hardsigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))
        x = self.pool(x * gate)
        return self.head(torch.reshape(x, (x.size(0), -1)))


class Attention(nn.Module):
    """Tokens with a class token and places, PyTorch's own attention and one written out."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 13, 8) * 0.3)
        self.norm1 = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8, eps=1e-6)
        self.qkv = nn.Linear(8, 24)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8), nn.Dropout(0.3))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        batch, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, 2, channels // 2).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = (query @ key.transpose(-2, -1) * 0.5).softmax(dim=-1)
        x = x + (weights @ value).transpose(1, 2).reshape(batch, tokens, channels)
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class Windows(nn.Module):
    """Axes moved as in networks of windows: NHWC norms, shifts, einsum, masks, written parts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.norm = nn.LayerNorm([8])
        self.mix = nn.Parameter(torch.randn(4, 4) * 0.5)
        self.register_buffer("mask", torch.arange(48).reshape(6, 8) % 3 == 0)
        self.group = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, CLASSES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x).permute(0, 2, 3, 1))
        x = torch.roll(x, (-1, 2), dims=(1, 2))
        b, h, w, c = x.shape
        x = x.view(b, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
        x = torch.einsum("btc,ts->bsc", x, self.mix)
        x = x.view(b, h // 2, w // 2, 2, 2, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)
        y = x.clone()
        y[:, 2:4] = x[:, 5:7] * 2
        y = y.masked_fill(self.mask, 0.25)
        first, second = self.group(y).chunk(2, dim=1)
        x = torch.cat([first * torch.sigmoid(second), F.leaky_relu(second, 0.2)], 1)
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return self.head(x.amax((2, 3)) + x.std((2, 3)) + F.normalize(x.mean((2, 3)), dim=1))


class Grouped(nn.Module):
    """Groups that are shuffled, splits, products, powers, PReLU, sums over a transposed layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8))
        self.grouped = nn.Conv2d(8, 8, 3, groups=4, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Sequential(
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, CLASSES)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.grouped(self.stem(x))
        b, c, h, w = x.size()
        x = x.view(b, 4, c // 4, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)
        left, right = torch.split(x, [4, 4], dim=1)
        x = torch.cat((x[:, :0], self.up(left)[:, :, ::2, ::2], F.elu(right), x[:, 8:]), dim=1)
        x = x / (1 + x.abs()) + torch.exp(-(x**2)) - torch.sqrt(x.square() + 0.1)
        return self.head(torch.stack([x, 2 - x], 0).sum(0).add(x, alpha=0.5))


class Parts(nn.Module):
    """Windows that a convolution sees as a batch; tokens right behind a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.window = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        b, c, h, w = x.shape
        x = x.view(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 6, 8)
        x = self.window(x).view(b, 2, 2, c, 6, 8).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)
        x = self.norm(x).flatten(2).transpose(1, 2)
        return self.head(torch.tanh(x)).mean(1)


class Outlook(nn.Module):
    """Windows that lie on each other, weighted by what is in their middle, and added up again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, stride=2)
        self.weights = nn.Linear(4, 9)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        middle = F.avg_pool2d(x, 2).flatten(2).transpose(1, 2)
        shares = self.weights(middle).softmax(-1).transpose(1, 2)
        held = F.unfold(x, 3, padding=1, stride=2).reshape(-1, 4, 9, 12) * shares[:, None]
        laid = F.fold(held.reshape(-1, 36, 12), (6, 8), 3, padding=1, stride=2)
        patches = F.unfold(torch.cat([x, laid], 1), 2, stride=2)
        return self.head(F.fold(patches.tanh(), (6, 8), 2, stride=2).mean((2, 3)))


class Recurrent(nn.Module):
    """Rows of pixels as sequences, both ways; then the rows, of which the last state counts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, stride=2)
        self.across = nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.down = nn.LSTM(10, 6, bias=False)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = (x := self.stem(x)).shape
        rows, _ = self.across(x.permute(0, 2, 3, 1).reshape(b * h, w, c))
        steps, (last, _) = self.down(rows.reshape(b, h, w, 10).mean(2).transpose(0, 1))
        return self.head(torch.cat([steps.mean(0), last[-1]], 1))


MODULES = (Parts, Outlook, Recurrent, ReLUs, Residual, SqueezeExcite, Attention, Windows, Grouped)
