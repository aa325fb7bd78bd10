"""Reads and writes Keras' weight files (HDF5), so that both engines begin with the same files and leave the same."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

import h5py
import numpy as np
import torch
from torch import nn

from trainer.formats.archives import ArchiveError
from trainer.formats.weights import check
from trainer.pytorch.model import Model

# name by Keras, and the tensor
_Weight = Tuple[str, torch.Tensor]


def load_backbone(model: Model, path: Path) -> None:
    """Take the backbone's weights (without top) from a file. Raises ArchiveError for one that does not fit."""
    check(path)
    layers = [(name, layer) for name, layer in model.backbone_layers() if layer is not None]
    with h5py.File(str(path), "r") as file:
        stored = [file[_text(name)] for name in file.attrs["layer_names"]]
        stored = [group for group in stored if len(group.attrs["weight_names"])]
        if len(stored) != len(layers):
            raise ArchiveError(
                f"model.weights: {path} has {len(stored)} layers with weights, MobileNetV2 has {len(layers)}: give a "
                "weight file of MobileNetV2 without top"
            )
        for group, (name, layer) in zip(stored, layers):
            own = [*_trained(name, layer), *_statistics(name, layer)]
            arrays = [np.asarray(group[_text(weight)]) for weight in group.attrs["weight_names"]]
            for array, (_, tensor) in zip(arrays, own):
                value = torch.from_numpy(_from_keras(array, tensor))
                if len(arrays) != len(own) or value.shape != tensor.shape:
                    raise ArchiveError(
                        f"model.weights: {name} in {path} has other shapes than in MobileNetV2: give a weight file of "
                        "MobileNetV2 (alpha 1.0) without top"
                    )
                with torch.no_grad():
                    tensor.copy_(value)


def save(model: Model, path: Path, image_size: int) -> None:
    """Write all weights as Keras' `save_weights` does, for the model of trainer/learning/model.py."""
    trained: List[_Weight] = []
    others: List[_Weight] = []
    for name, layer in model.backbone_layers():
        if layer is None:
            continue
        own = list(_trained(name, layer))
        trains = own[0][1].requires_grad  # type: ignore[union-attr]
        (trained if trains else others).extend(own)
        others += _statistics(name, layer)
    groups: Dict[str, List[_Weight]] = {
        "images": [],
        "resize": [],
        "scale": [],
        f"mobilenetv2_1.00_{image_size}": trained + others,
        "pool": [],
        "dense": list(_trained("dense", model.dense)),
        "dropout": [],
        "classes": list(_trained("classes", model.classes)),
    }
    with h5py.File(str(path), "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.12.0"
        for group_name, weights in groups.items():
            group = file.create_group(group_name)
            group.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, tensor in weights:
                group.create_dataset(name, data=_to_keras(tensor))


def _trained(name: str, layer: nn.Module) -> List[_Weight]:
    if isinstance(layer, nn.BatchNorm2d):
        return [(f"{name}/gamma:0", layer.weight), (f"{name}/beta:0", layer.bias)]
    if isinstance(layer, nn.Linear):
        return [(f"{name}/kernel:0", layer.weight), (f"{name}/bias:0", layer.bias)]
    assert isinstance(layer, nn.Conv2d)
    return [(f"{name}/{'depthwise_kernel' if layer.groups > 1 else 'kernel'}:0", layer.weight)]


def _statistics(name: str, layer: nn.Module) -> List[_Weight]:
    if not isinstance(layer, nn.BatchNorm2d):
        return []
    assert layer.running_mean is not None and layer.running_var is not None
    return [(f"{name}/moving_mean:0", layer.running_mean), (f"{name}/moving_variance:0", layer.running_var)]


def _from_keras(array: np.ndarray, tensor: torch.Tensor) -> np.ndarray:
    """A kernel [h, w, in, out] as PyTorch has it, [out, in, h, w]; a depthwise one [h, w, channels, 1] likewise."""
    if array.ndim == 4:
        depthwise = array.shape[3] == 1 and tensor.shape[1] == 1
        array = array.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    elif array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array, np.float32)


def _to_keras(tensor: torch.Tensor) -> np.ndarray:
    """The inverse of `_from_keras`."""
    array = tensor.detach().float().cpu().numpy()
    if array.ndim == 4:
        array = array.transpose((2, 3, 0, 1) if array.shape[1] == 1 else (2, 3, 1, 0))
    elif array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array)


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
