"""Units as an ONNX graph: the samples of one canonical window in, its unit ids out."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from speechunits.errors import UsageError
from speechunits.features.mel import FourierLogMel, LogMel
from speechunits.frames import PADDED_LENGTHS, SAMPLE_RATE_HZ, frame_counts, frames_mask
from speechunits.run import atomic_path
from speechunits.units.features import CodebookFeatures, Features, LayerFeatures, SmoothedFeatures
from speechunits.units.units import CENTROIDS, MEAN, RESIDUAL, SCALE, Units, build_features

_OPSET = 17


class WindowUnits(nn.Module):
    """An inventory as one module, in fp32; see :func:`export_onnx`."""

    units_centroids: Tensor | None
    units_mean: Tensor | None
    units_scale: Tensor | None
    units_residual: Tensor | None

    def __init__(self, units: Units) -> None:
        super().__init__()
        settings = {**units.header["units"], "precision": "fp32"}
        features: Features = build_features(units.tensors, {**units.header, "units": settings})
        self.width = 1
        if isinstance(features, SmoothedFeatures):
            self.width, features = features.width, features.features
        if not isinstance(features, LayerFeatures | CodebookFeatures):
            raise UsageError("units from MFCC have no network to export; export units of an encoder")
        self.encoder = plain(features.encoder)
        self.layer = features.layers[0] if isinstance(features, LayerFeatures) else None
        self.quantizer = features.quantizer if isinstance(features, CodebookFeatures) else None
        for name in (CENTROIDS, MEAN, SCALE, RESIDUAL):
            self.register_buffer(name.replace(".", "_"), units.tensors.get(name))
        self.eval()

    def forward(self, waveform: Tensor, length: Tensor) -> Tensor:
        """Return the ``(S,)`` units of ``(1, T)`` samples, of which ``length`` (1,) are real; padding means nothing."""
        output = self.encoder(waveform, length)
        if self.quantizer is None:
            frames: Tensor = output.layer(self.layer)
        else:
            chosen = self.quantizer(output.latents[0])
            if self.units_centroids is None:
                radix = self.quantizer.config.entries
                codes = chosen.codes.unbind(-1)
                ids: Tensor = codes[0]
                for code in codes[1:]:
                    ids = ids * radix + code
                return ids
            frames = chosen.vectors[None]
        if self.width > 1:
            real = frames_mask(frame_counts(length), frames.shape[1])[:, None].float()
            frames = (self._mean(frames.transpose(1, 2) * real) / self._mean(real).clamp_min(1e-6)).transpose(1, 2)
        return self._nearest(frames[0], self.units_centroids)

    def _mean(self, rows: Tensor) -> Tensor:
        return F.avg_pool1d(rows, self.width, stride=1, padding=self.width // 2)

    def _nearest(self, frames: Tensor, centroids: Tensor | None) -> Tensor:
        assert centroids is not None, "only a codebook's pairs have none"
        if self.units_mean is not None and self.units_scale is not None:
            frames = (frames - self.units_mean) / self.units_scale
        ids = _closest(frames, centroids)
        if self.units_residual is None:
            return ids
        return ids * len(self.units_residual) + _closest(frames - centroids[ids], self.units_residual)


def export_onnx(units: Units, path: Path, *, seconds: int = 20) -> None:
    """Write the units of one padded window as ONNX.

    Inputs: ``waveform`` (1, T) float32 at 16 kHz, T = 16000 ``seconds`` + 80, zero beyond its length, and ``length``
    (1,) int64, the real samples. Output: ``units`` (S,) int64, of which the first ⌊(length − 400) / 320⌋ + 1 are real.
    A longer recording is cut into canonical windows first, as docs/protocol.md defines them.

    Raises
    ------
    UsageError
        If the units are of MFCC, or ``seconds`` is no canonical length.
    """
    known = {length // SAMPLE_RATE_HZ: length for length in PADDED_LENGTHS}
    if seconds not in known:
        raise UsageError(f"seconds must be within {min(known)} and {max(known)}, but is {seconds} instead")
    module = WindowUnits(units)
    example = (torch.zeros(1, known[seconds]), torch.tensor([known[seconds] - 1]))
    with atomic_path(path) as temporary, warnings.catch_warnings(), torch.no_grad():
        # Sizes are constants of a window, as intended, and the tracing exporter needs no further package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, example, str(temporary), input_names=["waveform", "length"], output_names=["units"],
            opset_version=_OPSET, dynamo=False,
        )  # fmt: skip


def plain(network: nn.Module) -> nn.Module:
    """Put what ONNX has in the place of what it has not: weights for norms of weights, products for transforms."""
    for module in list(network.modules()):
        if is_parametrized(module, "weight"):
            remove_parametrizations(module, "weight")
        for name, child in module.named_children():
            if isinstance(child, LogMel):
                setattr(module, name, FourierLogMel(child))
    return network


def _closest(frames: Tensor, centroids: Tensor) -> Tensor:
    return torch.argmin(centroids.square().sum(dim=1)[None, :] - 2 * frames @ centroids.T, dim=1)
