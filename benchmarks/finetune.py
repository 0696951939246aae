"""CTC fine-tuning steps: this project, fairseq2, Hugging Face; `python -m benchmarks.finetune --help`.

All train on the same noise and transcripts with the same sizes and optimiser, each with its own masks.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers import comparable, encoder_names, fairseq2_layout, fairseq2_recognizer, hugging_face_config, load
from benchmarks.pretrain import TINY, noise, our_contender, parse
from benchmarks.timing import Contender, publish, race, rows_of, settings_for
from speechunits.asr.recognizer import build_recognizer
from speechunits.asr.tokens import Tokenizer
from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, FinetuneConfig, Wav2Vec2Config
from speechunits.encoder.encoder import Encoder
from speechunits.objectives.ctc import ctc

LETTERS = "abcdefghijklmnopqrstuvwxyz "
LETTERS_A_SECOND = 12


def labelled(batch_s: float, crop_s: float, symbols: int, device: torch.device) -> AudioBatch:
    """Return noise with random transcripts at the speed of speech."""
    batch = noise(batch_s, crop_s, device)
    count = max(1, int(LETTERS_A_SECOND * crop_s))
    tokens = torch.randint(1, symbols, (len(batch.ids), count), generator=torch.Generator().manual_seed(0))
    lengths = torch.full((len(batch.ids),), count, device=device)
    return batch._replace(tokens=tokens.to(device), token_lengths=lengths)


def fairseq2_loss(model: Any, batch: AudioBatch) -> Tensor:
    """Return fairseq2's summed CTC loss."""
    from fairseq2.nn import BatchLayout

    assert batch.tokens is not None
    assert batch.token_lengths is not None
    targets = BatchLayout(
        tuple(batch.tokens.shape), seq_lens=batch.token_lengths.tolist(), device=batch.waveforms.device
    )
    loss: Tensor = model(batch.waveforms, fairseq2_layout(batch.waveforms), batch.tokens, targets)
    return loss


@torch.no_grad()
def equality(
    encoder: Encoder, head: nn.Linear, fairseq2: Any, hugging_face: Any, batch: AudioBatch
) -> dict[str, float]:
    """Return the CTC loss (nats a token) of the three on copied weights: the head on the last layer."""
    for model in (encoder, fairseq2, hugging_face):
        model.eval()
    assert batch.tokens is not None
    assert batch.token_lengths is not None
    encoded = encoder(batch.waveforms, batch.lengths)
    ours = ctc(head(encoded.output), encoded.frame_lengths, batch.tokens, batch.token_lengths)
    sums = {
        "ours": ours.sum,
        "fairseq2": fairseq2_loss(fairseq2, batch),
        "Hugging Face": hugging_face(batch.waveforms, labels=batch.tokens).loss,
    }
    return {name: float(value) / float(ours.count) for name, value in sums.items()}


def bench(size: str, arguments: argparse.Namespace, device: torch.device) -> dict[str, object]:
    """Race all contenders of a size."""
    from transformers import Wav2Vec2ForCTC

    changes = TINY if size == "smoke" else {}
    config, tokenizer = comparable(size, **changes), Tokenizer(["", *LETTERS])
    symbols = len(tokenizer)
    batch = labelled(arguments.batch_s, arguments.crop_s, symbols, device)
    torch.manual_seed(0)
    settings = FinetuneConfig(side="untrained", encoder=config)
    recognizer = build_recognizer(settings, tokenizer).to(device)
    encoder: Any = recognizer.network.encoder  # type: ignore[union-attr]  # not the log-mel side
    head = nn.Linear(config.dim, symbols).to(device)
    fairseq2 = fairseq2_recognizer(config, symbols).to(device)
    hugging_face: Any = Wav2Vec2ForCTC(hugging_face_config(config, Wav2Vec2Config(), symbols)).to(device)
    for model, peer, prefix, name in (
        (fairseq2, "fairseq2", "", "final_proj"), (hugging_face, "huggingface", "wav2vec2.", "lm_head"),
    ):  # fmt: skip
        names = {prefix + key: value for key, value in encoder_names(encoder, peer=peer).items()}
        load(model, names | {f"{name}.{key}": value for key, value in head.state_dict().items()})
    losses = equality(encoder, head, fairseq2, hugging_face, batch)
    logmel: EncoderConfig = comparable(size, frontend="logmel", **changes)
    small = build_recognizer(FinetuneConfig(side="untrained", encoder=logmel), tokenizer).to(device)
    contenders = [
        our_contender("ours", recognizer, batch),
        Contender("fairseq2", fairseq2.train(), lambda: fairseq2_loss(fairseq2, batch) / batch.tokens.numel()),  # type: ignore[union-attr]
        Contender(
            "Hugging Face", hugging_face.train(),
            lambda: hugging_face(batch.waveforms, labels=batch.tokens).loss / batch.tokens.numel(),  # type: ignore[union-attr]
        ),
        our_contender("ours, log-mel", small, batch),
    ]  # fmt: skip
    race(contenders, settings_for(device, threads=arguments.threads), device, arguments.rounds)
    worst = max(losses.values()) - min(losses.values())
    return {
        "size": size,
        "batch": f"{batch.audio_s:.0f} s in rows of {arguments.crop_s:g} s",
        "losses": losses,
        "equality": f"losses differ by {worst:.1e} nats" + ("" if worst < 1e-3 else " (NOT the same)"),
        "rows": rows_of(contenders, batch.audio_s, float(recognizer.training_flops(batch.lengths)), device),
    }


def main() -> None:
    """Run the benchmark."""
    arguments = parse(__doc__, "finetune.json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = [bench(size, arguments, device) for size in arguments.sizes]
    publish("fine-tuning step", results, arguments.output, device)


if __name__ == "__main__":
    main()
