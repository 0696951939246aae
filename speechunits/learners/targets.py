"""What every masked learner does with a batch: generators, masked places, non-silent frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechunits.audio.batch import AudioBatch
from speechunits.frames import HOP, RECEPTIVE_FIELD, frame_count, frame_counts, frames_mask
from speechunits.objectives.chosen import waits_for_counts

SILENCE_DB = -40.0
"""A frame this far below the loudest one of its row is silent."""


def batch_generator(seed: int, device: torch.device) -> torch.Generator:
    """Return the generator of all masks, negatives and noise of a batch."""
    return torch.Generator(device=device).manual_seed(seed)


def masked_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(B, M)`` indices of the masked frames of each row of a ``(B, S)`` mask, in order, and which are real.

    M is the largest number of masked frames of a row (S where the host would have to wait for it); places beyond a
    row's own number point anywhere.
    """
    counts = mask.sum(dim=1)
    known = mask.numel() and not waits_for_counts(mask.device)
    size = int(counts.max()) if known else mask.shape[1]
    places = torch.argsort(~mask, dim=1, stable=True)[:, :size]
    return places, torch.arange(size, device=mask.device)[None, :] < counts[:, None]


def pad_rows(rows: Tensor, valid: Tensor) -> Tensor:
    """Return ``(B, M, D)``: the first ``(N, D)`` rows at the true places of ``(B, M)``, in order, zeros elsewhere."""
    order = (valid.flatten().cumsum(dim=0) - 1).clamp(min=0).view_as(valid)
    return rows[order].masked_fill(~valid[..., None], 0)


def non_silent(waveforms: Tensor, frame_lengths: Tensor) -> Tensor:
    """Return ``(B, S)``, true where the energy of a frame is within 40 dB of the loudest of its row."""
    energies, real = frame_energies(waveforms, frame_lengths)
    if energies.shape[1] == 0:
        return real
    return real & (energies > energies.amax(dim=1, keepdim=True) * 10 ** (SILENCE_DB / 10))


def frame_energies(waveforms: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ``(B, S)`` mean squares of the frames, 0 beyond the real ones, and which are real."""
    size = frame_count(waveforms.shape[1])
    real = frames_mask(frame_lengths, size)
    if size == 0:
        return torch.zeros(real.shape, device=waveforms.device), real
    energies = F.avg_pool1d(waveforms.float().square()[:, None], RECEPTIVE_FIELD, HOP)[:, 0]
    return energies.masked_fill(~real, 0.0), real


def speech_frames(batch: AudioBatch) -> Tensor:
    """Return ``(B, S)``, true at frames with speech: as heard before any alteration, where the batch says so."""
    return non_silent(batch.waveforms, frame_counts(batch.lengths)) if batch.speech is None else batch.speech


def exported(**modules: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of modules as a bundle keeps them: on the CPU, copied, named ``MODULE.parameter``.

    What is sharded stays on its device: ranks gather a shard where their network reaches it, often only on GPUs.
    """
    return {
        f"{name}.{key}": _apart(tensor.detach())
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }


def _apart(tensor: Tensor) -> Tensor:
    return tensor if hasattr(tensor, "full_tensor") else tensor.cpu().clone().contiguous()
