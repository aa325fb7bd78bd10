"""The paper's model in PyTorch: Keras' MobileNetV2 and a head of two dense layers, layer by layer.

Names, shapes, padding, epsilon and initial values are Keras' (keras.applications.mobilenet_v2), so that both engines
compute the same from the same weights.
"""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional

from trainer.contract.sections import Model as Config

_EPSILON = 1e-3  # of Keras' batch normalisation in MobileNetV2
# expansion, channels, blocks, stride of the first (Sandler et al., "MobileNetV2", CVPR 2018, table 2)
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FEATURES = 1280  # channels of the backbone's output

# a layer by Keras' name; null: it has no weights
Named = Tuple[str, Optional[nn.Module]]


class _Convolution(nn.Conv2d):
    """Keras' convolution without bias: "same" padding is below and right of an even image where it strides."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, 0 if stride > 1 else size // 2, groups=groups, bias=False)
        nn.init.xavier_uniform_(self.weight)  # Keras' glorot_uniform

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, inputs, h, w] -> [b, outputs, ceil(h / stride), ceil(w / stride)]."""
        if self.stride[0] > 1:
            height, width = x.shape[2:]
            x = functional.pad(x, (width % 2, 1, height % 2, 1))
        return super().forward(x)


class _Block(nn.Module):
    """Inverted residual with a linear bottleneck."""

    def __init__(self, prefix: str, inputs: int, outputs: int, stride: int, expansion: int, momentum: float) -> None:
        super().__init__()
        wide = inputs * expansion
        self._prefix, self._stride, self._residual = prefix, stride, stride == 1 and inputs == outputs
        self.expand = _Convolution(inputs, wide, 1) if expansion > 1 else None
        self.expand_bn = _normalisation(wide, momentum) if expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, 3, stride, groups=wide)
        self.depthwise_bn = _normalisation(wide, momentum)
        self.project = _Convolution(wide, outputs, 1)
        self.project_bn = _normalisation(outputs, momentum)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, inputs, h, w] -> [b, outputs, ceil(h / stride), ceil(w / stride)]."""
        y = x
        if self.expand is not None and self.expand_bn is not None:
            y = functional.relu6(self.expand_bn(self.expand(y)), inplace=True)
        y = functional.relu6(self.depthwise_bn(self.depthwise(y)), inplace=True)
        y = self.project_bn(self.project(y))
        return x + y if self._residual else y

    def layers(self) -> Iterator[Named]:
        """Keras' layers in order."""
        name = self._prefix
        if self.expand is not None:
            yield from ((f"{name}_expand", self.expand), (f"{name}_expand_BN", self.expand_bn))
            yield f"{name}_expand_relu", None
        if self._stride > 1:
            yield f"{name}_pad", None
        yield from ((f"{name}_depthwise", self.depthwise), (f"{name}_depthwise_BN", self.depthwise_bn))
        yield f"{name}_depthwise_relu", None
        yield from ((f"{name}_project", self.project), (f"{name}_project_BN", self.project_bn))
        if self._residual:
            yield f"{name}_add", None


class Model(nn.Module):
    """From uint8 images, or features of a backbone that does not train, to logits."""

    def __init__(self, config: Config, classes: int, generator: torch.Generator) -> None:
        """Dropout draws from `generator`, on the model's device."""
        super().__init__()
        self._size, self._dropout, self._generator = config.image_size, config.dropout, generator
        momentum = 1.0 - config.batch_norm_momentum  # PyTorch's is the share of the new value
        self.first, self.first_bn = _Convolution(3, 32, 3, 2), _normalisation(32, momentum)
        blocks: List[_Block] = []
        inputs = 32
        for expansion, outputs, count, stride in _STAGES:
            for place in range(count):
                name = f"block_{len(blocks)}" if blocks else "expanded_conv"
                blocks.append(_Block(name, inputs, outputs, 1 if place else stride, expansion, momentum))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last, self.last_bn = _Convolution(inputs, FEATURES, 1), _normalisation(FEATURES, momentum)
        self.dense, self.classes = nn.Linear(FEATURES, config.dense_units), nn.Linear(config.dense_units, classes)
        for layer in (self.dense, self.classes):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        frozen = _frozen(list(self.backbone_layers()), config.fine_tune)
        self._frozen = tuple(frozen)  # not a list of modules, which would be parts of the model twice
        for layer in frozen:
            layer.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: [b, 3, h, w] uint8, or [b, FEATURES] float32 -> logits [b, classes] float32."""
        x = self.features(images) if images.dtype == torch.uint8 else images
        x = functional.relu(self.dense(x))
        if self.training and self._dropout:
            drawn = torch.rand(x.shape, generator=self._generator, device=x.device)
            x = x * ((drawn >= self._dropout) / (1.0 - self._dropout)).to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):  # float32 at every precision, as in Keras' model
            return self.classes(x.float())

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """images: [b, 3, h, w] uint8 -> [b, FEATURES], means over the image."""
        x = images.float()
        if x.shape[2:] != (self._size, self._size):
            x = functional.interpolate(x, size=(self._size, self._size), mode="bilinear", align_corners=False)
        x = x * (1 / 127.5) - 1.0
        x = functional.relu6(self.first_bn(self.first(x)), inplace=True)
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.last_bn(self.last(x)), inplace=True).mean((2, 3))

    def train(self, mode: bool = True) -> Model:
        """As in Keras, frozen layers normalise with their moving statistics, and do not change them."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def backbone_layers(self) -> Iterator[Named]:
        """The layers of Keras' MobileNetV2 in order, without its input."""
        yield from (("Conv1", self.first), ("bn_Conv1", self.first_bn), ("Conv1_relu", None))
        for block in self.blocks:
            yield from block.layers()  # type: ignore[operator]
        yield from (("Conv_1", self.last), ("Conv_1_bn", self.last_bn), ("out_relu", None))

    def moving_statistics(self) -> List[torch.Tensor]:
        """What training changes without a gradient: moving means and variances of layers that are not frozen."""
        frozen = {id(layer) for layer in self._frozen}
        norms = [layer for layer in self.modules() if isinstance(layer, nn.BatchNorm2d) and id(layer) not in frozen]
        return [value for layer in norms for value in (layer.running_mean, layer.running_var) if value is not None]

    def parameter_counts(self) -> Tuple[int, int]:
        """Number of trainable parameters, and of all parameters with the moving statistics, as Keras counts them."""
        norms = [layer for layer in self.modules() if isinstance(layer, nn.BatchNorm2d)]
        trainable = sum(weight.numel() for weight in self.parameters() if weight.requires_grad)
        return trainable, sum(weight.numel() for weight in self.parameters()) + sum(2 * n.num_features for n in norms)


class _Normalisation(nn.BatchNorm2d):
    """Keras' batch normalisation: also of a single value a channel, whose variance is 0, where PyTorch raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [b, channels, h, w] -> the same shape."""
        if not self.training or x.numel() > self.num_features:
            return super().forward(x)
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.running_mean.lerp_(x.flatten().float(), self.momentum)
            self.running_var.mul_(1.0 - self.momentum)
        scale, shift = (parameter.view(1, -1, 1, 1) for parameter in (self.weight, self.bias))
        return ((x - x) * scale + shift).to(x.dtype)


def _normalisation(channels: int, momentum: float) -> nn.BatchNorm2d:
    return _Normalisation(channels, eps=_EPSILON, momentum=momentum)


def _frozen(layers: List[Named], fine_tune: str) -> List[nn.Module]:
    """The layers of the backbone that do not train: see model.fine_tune."""
    kind, _, count = fine_tune.partition(":")
    if kind == "all":
        return []
    kept = layers if kind == "head" else layers[: -int(count)]
    return [layer for _, layer in kept if layer is not None]
