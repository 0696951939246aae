"""Small recognisers and recordings for tests."""

import numpy as np
import torch

from speechunits.asr.recognizer import build_recognizer
from speechunits.asr.tokens import build_tokenizer
from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, FinetuneConfig
from speechunits.encoder.encoder import Encoder

ENCODER = EncoderConfig(
    channels=32, dim=32, layers=2, heads=2, ffn_dim=64, position_kernel=7, position_groups=4, dropout=0.0
)
TONES_HZ = {"a": 400.0, "b": 1200.0, "c": 2600.0}
SIDES = ("pretrained", "untrained", "logmel")


def config(side, **changes):
    return FinetuneConfig(side=side, encoder=ENCODER, **changes)


def recognizer(side, seed=0, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        encoder = Encoder(ENCODER)
    return build_recognizer(config(side, seed=seed, **changes), build_tokenizer(TONES_HZ), encoder)


def spoken(text, generator, tone_s=0.08):
    """Make a waveform that says each letter as a tone with a gap after it."""
    time_s = np.arange(int(tone_s * 16000)) / 16000
    parts = [generator.normal(0, 0.01, 480)]
    for letter in text:
        parts += [0.3 * np.sin(2 * np.pi * TONES_HZ[letter] * time_s), np.zeros(480)]
    samples = np.concatenate(parts)
    return (samples + generator.normal(0, 0.01, len(samples))).astype(np.float32)


def batch(texts, tokenizer, seed=0):
    generator = np.random.default_rng(seed)
    rows = [torch.from_numpy(spoken(text, generator)) for text in texts]
    tokens = [torch.tensor(tokenizer.encode(text)) for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    return AudioBatch(
        waveforms=pad(rows, batch_first=True), lengths=torch.tensor([len(row) for row in rows]),
        ids=tuple(map(str, range(len(texts)))), seed=seed, tokens=pad(tokens, batch_first=True),
        token_lengths=torch.tensor([len(row) for row in tokens]),
    )  # fmt: skip


def random_texts(count, generator):
    return ["".join(generator.choice(list(TONES_HZ), generator.integers(2, 6))) for _ in range(count)]
