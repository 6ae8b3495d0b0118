"""Features of a frozen backbone, computed once: what is left to train is a linear layer.

Files in the cache are safetensors, named by a hash of everything that decides their content.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from analysis.network.chunks import halve, unless_too_large
from models.data.preprocessing import Preprocessing
from models.networks.transfer import TransferNet
from models.runs.tensor_files import TensorFiles, hash_state, hash_tensor

MAX_CACHE_BYTES = 2**30
CACHE_FOLDER = ".features"
"""Inside the folder of runs."""


def compute_features(
    net: TransferNet,
    images: Tensor,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tensor | None:
    """Features of all pictures, on the network's device, in eval mode and without gradients.

    They are those of ``net.extract_features`` for the same batches, bit for bit; other batch sizes change the last
    bits only.

    Args:
        net: The network; its train or eval flags are as before afterwards.
        images: ``(N, C, H, W)`` uint8, on any device.
        preprocessing: Its mean and std are applied.
        batch_size: Pictures in one forward pass; halved when the device runs out of memory.
        stop: Asked before each batch whether to give up.

    Returns:
        ``(N, F)`` float32 on the CPU, or None if it was stopped.

    Raises:
        UserError: There is too little memory for one picture.
    """
    device = next(net.parameters()).device
    mean, std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    # Made outside of inference mode: a head can only be trained on ordinary tensors.
    features = torch.empty(len(images), net.config.num_features)
    was_training, start = net.training, 0
    net.eval()
    try:
        while start < len(images):
            if stop():
                return None
            batch = images[start : start + batch_size].to(device)
            found = unless_too_large(_extract, net, (batch.float() / 255 - mean) / std)
            if found is None:
                batch_size = halve(batch_size)
                continue
            features[start : start + len(batch)] = found
            start += len(batch)
            progress(start, len(images))
    finally:
        net.train(was_training)
    return features


@torch.inference_mode()
def _extract(net: TransferNet, inputs: Tensor) -> Tensor:
    return net.extract_features(inputs.contiguous(memory_format=torch.channels_last)).float().cpu()


class FeatureCache:
    """Features on disk, so that a second training of a head starts at once; the least recently used go first."""

    def __init__(self, runs_root: str | Path, max_bytes: int = MAX_CACHE_BYTES):
        self.folder = Path(runs_root) / CACHE_FOLDER
        self.files = TensorFiles(self.folder, max_bytes)

    def get(
        self, net: TransferNet, images: Tensor, preprocessing: Preprocessing, *, batch_size: int = 64, **options
    ) -> Tensor | None:
        """What :func:`compute_features` gives for the same arguments, from the disk if it is there.

        A file that is damaged or does not fit is computed anew; one that cannot be written costs only time.
        """
        key = _hash_inputs(net, images, preprocessing, batch_size)
        shape = (len(images), net.config.num_features)
        kept = self.files.read(key, {"features": (torch.float32, shape)})
        if kept is not None:
            return kept["features"]
        features = compute_features(net, images, preprocessing, batch_size=batch_size, **options)
        if features is not None:
            self.files.write(key, {"features": features})
        return features


def _hash_inputs(net: TransferNet, images: Tensor, preprocessing: Preprocessing, batch_size: int) -> str:
    """SHA-256 of everything that decides the features, to the last bit, on one machine."""
    device = next(net.parameters()).device.type
    facts = (net.config.backbone, tuple(images.shape), preprocessing.mean, preprocessing.std, batch_size, device)
    digest = hashlib.sha256(repr((*facts, torch.__version__)).encode())
    hash_state(digest, net.backbone.state_dict())
    hash_tensor(digest, images)
    return digest.hexdigest()
