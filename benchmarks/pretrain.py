"""Pretraining steps of wav2vec 2.0: this project, fairseq2, Hugging Face; `python -m benchmarks.pretrain --help`.

All train on the same noise with the same sizes, mask share and optimiser. The masks and negatives of Hugging Face are
drawn outside the clock, since its recipe draws them in the data loader; the others draw theirs inside the step.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import (
    MASK_PROBABILITY,
    SPAN,
    comparable,
    copy_pretraining,
    fairseq2_layout,
    fairseq2_pretraining,
    hugging_face_config,
)
from benchmarks.timing import Contender, publish, race, rows_of, settings_for
from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, MaskConfig, MaskedPredictionConfig, Wav2Vec2Config
from speechunits.encoder.masking import span_mask
from speechunits.frames import SAMPLE_RATE_HZ, frame_count, frame_counts
from speechunits.learners.learner import Learner
from speechunits.learners.masked_prediction import MaskedPredictionLearner
from speechunits.learners.targets import masked_places
from speechunits.learners.wav2vec2 import Wav2Vec2Learner
from speechunits.objectives.wav2vec2 import contrastive_loss, sample_negatives

MASK = MaskConfig(start_prob=MASK_PROBABILITY / SPAN, span=SPAN)
TINY = {"channels": 32, "dim": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "position_kernel": 16}


def noise(batch_s: float, crop_s: float, device: torch.device) -> AudioBatch:
    """Return a batch of noise with a unit for every frame."""
    rows, samples = max(1, round(batch_s / crop_s)), round(crop_s * SAMPLE_RATE_HZ) // 6400 * 6400 + 80
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(rows, samples, generator=generator)
    units = torch.randint(0, 100, (rows, frame_count(samples)), generator=generator)
    return AudioBatch(waveforms, torch.full((rows,), samples), ("noise",) * rows, 0, units=units).to(device)


def our_contender(name: str, learner: Learner, batch: AudioBatch) -> Contender:
    """Return one of this project's learners, with new masks in every step."""
    turn = [0]

    def loss() -> Tensor:
        turn[0] += 1
        result = learner(batch._replace(seed=turn[0]))
        return result.sum / result.count

    return Contender(name, learner.train(), loss)


def fairseq2_contender(model: Any, batch: AudioBatch) -> Contender:
    """Return fairseq2's model; it draws masks and distractors itself."""
    layout = fairseq2_layout(batch.waveforms)

    def loss() -> Tensor:
        losses, output = model(batch.waveforms, layout)
        return losses.aggregate / output.num_targets

    return Contender("fairseq2", model.train(), loss)


def hugging_face_contender(model: Any, batch: AudioBatch) -> Contender:
    """Return Hugging Face's model with masks and negatives from its own functions."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    shape = (len(batch.waveforms), frame_count(batch.waveforms.shape[1]))
    drawn: dict[str, Tensor] = {}

    def prepare() -> None:
        mask = _compute_mask_indices(shape, MASK_PROBABILITY, SPAN, min_masks=2)
        negatives = _sample_negative_indices(shape, model.config.num_negatives, mask_time_indices=mask)
        for name, values in (("mask_time_indices", mask), ("sampled_negative_indices", negatives)):
            drawn[name] = torch.from_numpy(values.astype(np.int64)).to(batch.waveforms.device)
        drawn["mask_time_indices"] = drawn["mask_time_indices"].bool()

    def loss() -> Tensor:
        total: Tensor = model(batch.waveforms, **drawn).loss
        return total / drawn["mask_time_indices"].sum()

    return Contender("Hugging Face", model.train(), loss, prepare)


@torch.no_grad()
def equality(learner: Wav2Vec2Learner, fairseq2: Any, hugging_face: Any, batch: AudioBatch) -> dict[str, float]:
    """Return the contrastive loss (nats a frame) of the three on copied weights, masks and negatives."""
    batch = batch._replace(waveforms=batch.waveforms[:2, :32_080], lengths=batch.lengths[:2].clamp(max=32_080))
    device, lengths = batch.waveforms.device, frame_counts(batch.lengths)
    generator = torch.Generator(device=device).manual_seed(0)
    mask = span_mask(lengths, int(lengths[0]), MASK, generator)
    mask &= mask.cumsum(dim=1) <= mask.sum(dim=1).min()  # fairseq2 wants the same number of masked frames in each row
    places, valid = masked_places(mask)
    negatives = sample_negatives(valid.sum(dim=1), places.shape[1], learner.config.negatives, generator)
    for model in (learner, fairseq2, hugging_face):
        model.eval()
    encoded = learner.encoder(batch.waveforms, batch.lengths, mask=mask)
    quantized = learner.quantizer(encoded.latents[mask])
    rows = (len(mask), -1)
    ours = contrastive_loss(
        learner.heads["context"](encoded.output[mask]).unflatten(0, rows),
        learner.heads["target"](quantized.vectors).unflatten(0, rows),
        negatives, valid, temperature=learner.config.temperature, mask_same=True,
        same=learner._same(quantized.codes, negatives, valid),
    )  # fmt: skip

    def distractors(targets: Tensor) -> Tensor:
        return torch.stack([row[chosen] for row, chosen in zip(targets, negatives, strict=True)])

    fairseq2.masker.mask_factory, before = (lambda **_: mask), fairseq2.masker.mask_factory
    fairseq2._sample_distractors = distractors
    theirs, _ = fairseq2(batch.waveforms.clone(), fairseq2_layout(batch.waveforms))
    fairseq2.masker.mask_factory = before
    del fairseq2._sample_distractors
    frames = torch.zeros((*mask.shape, negatives.shape[-1]), dtype=torch.int64, device=device)
    chosen = torch.gather(places[:, None, :].expand(-1, places.shape[1], -1), 2, negatives)
    frames[mask] = (chosen + torch.arange(len(mask), device=device)[:, None, None] * mask.shape[1]).flatten(0, 1)
    other = hugging_face(batch.waveforms, mask_time_indices=mask, sampled_negative_indices=frames)
    count = float(ours.count)
    sums = {"ours": ours.sum, "fairseq2": theirs.contrastive, "Hugging Face": other.contrastive_loss}
    return {name: float(value) / count for name, value in sums.items()}


def bench(size: str, arguments: argparse.Namespace, device: torch.device) -> dict[str, object]:
    """Race all contenders of a size."""
    changes = TINY if size == "smoke" else {}
    config, method = comparable(size, **changes), Wav2Vec2Config()
    batch = noise(arguments.batch_s, arguments.crop_s, device)
    torch.manual_seed(0)
    learner = Wav2Vec2Learner(config, MASK, method).to(device)
    fairseq2 = fairseq2_pretraining(config, method).to(device)
    from transformers import Wav2Vec2ForPreTraining

    hugging_face: Any = Wav2Vec2ForPreTraining(hugging_face_config(config, method)).to(device)
    for model, peer in ((fairseq2, "fairseq2"), (hugging_face, "huggingface")):
        copy_pretraining(learner, model, peer=peer)
    losses = equality(learner, fairseq2, hugging_face, batch)
    logmel = comparable(size, frontend="logmel", **changes)
    units = MaskedPredictionLearner(logmel, MASK, MaskedPredictionConfig()).to(device)
    contenders = [
        our_contender("ours", learner, batch),
        fairseq2_contender(fairseq2, batch),
        hugging_face_contender(hugging_face, batch),
        our_contender("ours, log-mel", Wav2Vec2Learner(logmel, MASK, method).to(device), batch),
        our_contender("ours, log-mel, units", units, batch),
    ]
    race(contenders, settings_for(device, threads=arguments.threads), device, arguments.rounds)
    worst = max(losses.values()) - min(losses.values())
    return {
        "size": size,
        "batch": f"{batch.audio_s:.0f} s in crops of {arguments.crop_s:g} s",
        "losses": losses,
        "equality": f"losses differ by {worst:.1e} nats" + ("" if worst < 1e-3 else " (NOT the same)"),
        "rows": rows_of(contenders, batch.audio_s, float(learner.training_flops(batch.lengths)), device),
    }


def parse(description: str | None, output: str) -> argparse.Namespace:
    """Return the arguments that both benchmarks take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sizes", nargs="+", choices=list(EncoderConfig.PRESETS), default=["nano", "small"])
    parser.add_argument("--batch-s", type=float, default=20.0, help="seconds of audio a step")
    parser.add_argument("--crop-s", type=float, default=10.0, help="seconds of a row")
    parser.add_argument("--rounds", type=int, default=7)
    cores = os.cpu_count() or 1
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}), help="counts to choose from")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks") / output)
    parser.add_argument("--smoke", action="store_true", help="a tiny model, two rounds: does it run?")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.sizes, arguments.rounds, arguments.threads = ["smoke"], 2, [1]
        arguments.batch_s, arguments.crop_s = 4.0, 2.0
    return arguments


def main() -> None:
    """Run the benchmark."""
    arguments = parse(__doc__, "pretrain.json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = [bench(size, arguments, device) for size in arguments.sizes]
    publish("pretraining step", results, arguments.output, device)


if __name__ == "__main__":
    main()
