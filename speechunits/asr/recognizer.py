"""A recogniser: a network, a linear layer, CTC. One class for every side of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

from speechunits.asr.alignments import Alignments
from speechunits.asr.average import WeightAverage
from speechunits.asr.baseline import LogMelNetwork
from speechunits.asr.greedy import collapse
from speechunits.asr.mixture import LayerMixture
from speechunits.asr.span import cropped, cropped_mel, placed, spoken_span
from speechunits.asr.tokens import Tokenizer
from speechunits.asr.unit_network import PREFIX, UnitNetwork, restored_inventory
from speechunits.audio.batch import AudioBatch
from speechunits.config import EncoderConfig, FinetuneConfig, build_config, to_tree
from speechunits.encoder.dropout import Dropout
from speechunits.encoder.encoder import Encoder, load_exported
from speechunits.encoder.flops import BACKWARD
from speechunits.errors import ModelRefused
from speechunits.frames import frame_counts
from speechunits.learners.learner import Learner
from speechunits.objectives.ctc import ctc, minimum_frames
from speechunits.objectives.loss import Loss
from speechunits.units.units import Units

Network = LayerMixture | LogMelNetwork | UnitNetwork


class Recognizer(Learner):
    """Network → layer norm → dropout → linear → CTC.

    ``network`` maps ``(B, T)`` waveforms to ``(B, S, dim)`` features: a :class:`LayerMixture` over an encoder
    (pretrained or not), the :class:`LogMelNetwork`, or a :class:`UnitNetwork`. The tokenizer's blank is symbol 0.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer, config: FinetuneConfig) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.config = config
        self.norm = nn.LayerNorm(network.dim)
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(network.dim, len(tokenizer))
        self._average = WeightAverage(self, config.average)
        self.alignments = Alignments()
        # All symbols start equally likely: what a random head prefers costs the first updates, and those are few.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def logits(
        self, waveforms: Tensor, lengths: Tensor, *, seed: int = 0, mel: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return ``(B, S, V)`` logits and ``(B,)`` frame counts; in training mode the input is masked by ``seed``.

        ``mel`` is the ``(B, M, bins)`` log-mel of the waveforms where it has been computed already. With
        ``config.silent_edges`` the blank is certain before the first and after the last speech of a row.
        """
        logits, frame_lengths, span = self._heard(waveforms, lengths, seed, mel)
        return (logits, frame_lengths) if span is None else (placed(logits, span), frame_counts(lengths))

    def forward(self, batch: AudioBatch) -> Loss:
        """Return the CTC loss of a batch; in evaluation mode with the metric ``cer`` of the greedy hypotheses.

        Raises
        ------
        ValueError
            If the batch has no tokens.
        """
        if batch.tokens is None or batch.token_lengths is None:
            raise ValueError("a batch must have tokens to train a recogniser, but has none; encode its texts first")
        logits, frame_lengths, _ = self._heard(batch.waveforms, batch.lengths, batch.seed, batch.mel)
        loss = ctc(logits, frame_lengths, batch.tokens, batch.token_lengths)
        if self.training:
            needed = minimum_frames(batch.tokens, batch.token_lengths)
            self.alignments.note(batch.ids, needed <= frame_lengths)
        else:
            loss.metrics["cer"] = self._errors(logits, frame_lengths, batch.tokens, batch.token_lengths)
        return loss

    def _heard(
        self, waveforms: Tensor, lengths: Tensor, seed: int, mel: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logits and frame counts of what is listened to: of a span ``(B, S)`` of the frames, or, None, all."""
        span = None
        if self.config.silent_edges:
            span = spoken_span(waveforms, frame_counts(lengths))
            waveforms, lengths = cropped(waveforms, span)
            mel = None if mel is None else cropped_mel(mel, span, waveforms.shape[1])
        augment = self.config.augment if self.training else None
        features, frame_lengths = self.network(waveforms, lengths, augment=augment, seed=seed, mel=mel)
        return self.head(self.dropout(self.norm(features))), frame_lengths, span

    def _errors(
        self, logits: Tensor, frame_lengths: Tensor, tokens: Tensor, token_lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the edits of greedy hypotheses and the references' code points (or phones)."""
        edits = length = 0
        best = logits.argmax(dim=-1).cpu()
        for row, frames, target, count in zip(
            best, frame_lengths.tolist(), tokens.tolist(), token_lengths.tolist(), strict=True
        ):
            reference, hypothesis = (
                self.tokenizer.counted(self.tokenizer.decode(found))
                for found in (target[:count], collapse(row[:frames].tolist()))
            )
            edits += Levenshtein.distance(reference, hypothesis)
            length += len(reference)
        return token_lengths.new_tensor(edits), token_lengths.new_tensor(length)

    def report(self, metrics: Mapping[str, float], histograms: Mapping[str, Tensor]) -> dict[str, float]:  # noqa: ARG002
        """Return ``loss`` in nats a token, ``blank`` share of frames, ``all_blank`` 0 or 1, ``unaligned``, ``cer``."""
        return {**metrics, "all_blank": float(metrics.get("blank", 0.0) >= 1.0)}

    def set_progress(self, step: int, total_steps: int) -> None:
        """Freeze a pretrained encoder for the first share ``frozen`` of the steps.

        The encoder then runs without gradient, so its parameters get none; a data-parallel wrapper must look for unused
        parameters (not ``static_graph``).
        """
        if isinstance(self.network, LayerMixture):
            share = self.config.frozen if self.config.side == "pretrained" else 0.0
            self.network.frozen = step < share * total_steps
        self._average.step(step, total_steps)

    @property
    def memory(self) -> WeightAverage:
        """The mean of the last weights, as far as it has come."""
        return self._average

    def finish(self) -> None:
        """End a training: where ``config.average`` asks for it, the mean of the last weights becomes the weights."""
        if isinstance(self.network, LayerMixture):
            self.network.frozen = False
        self._average.apply()

    def training_flops(self, lengths: Tensor) -> Tensor:
        """Return the FLOPs of a step's transformer; a frozen encoder runs forward only, or once in many steps."""
        flops = super().training_flops(lengths)
        if not isinstance(self.network, LayerMixture) or not self.network.frozen:
            return flops
        return flops * 0 if self.network.keeps else flops / (1 + BACKWARD)

    def parameter_groups(self, lr: float) -> list[dict[str, object]]:
        """Return the optimiser groups: the encoder's learning rate is scaled by ``encoder_lr_scale``."""
        if not isinstance(self.network, LayerMixture):
            return super().parameter_groups(lr)
        encoder = list(self.network.encoder.parameters())
        inside = {id(parameter) for parameter in encoder}
        head = [parameter for parameter in self.parameters() if id(parameter) not in inside]
        return [{"params": head, "lr": lr}, {"params": encoder, "lr": lr * self.config.encoder_lr_scale}]

    def export(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors and the header of a bundle of kind ``recognizer``."""
        tensors, tokenizer_header = self.tokenizer.export()
        encoder = to_tree(self.network.encoder.config) if isinstance(self.network, LayerMixture) else None
        header: dict[str, object] = {
            "kind": "recognizer",
            "side": self.config.side,
            "silent_edges": self.config.silent_edges,
            "logmel_beside": self.config.logmel_beside,
            "encoder": encoder,
            "tokenizer": tokenizer_header,
        }
        if isinstance(self.network, UnitNetwork):
            inventory, described = self.network.export()
            tensors, header = {**tensors, **inventory}, {**header, **described}
        return {**self.state_dict(), **tensors}, header


def build_recognizer(
    config: FinetuneConfig, tokenizer: Tokenizer, encoder: Encoder | None = None, inventory: Units | None = None
) -> Recognizer:
    """Return a fresh recogniser for a side of a comparison, its new weights drawn from ``config.seed``.

    ``encoder`` is the pretrained one, ``inventory`` what the side ``units`` reads; the ``untrained`` side makes its
    encoder from ``config.encoder``.

    Raises
    ------
    ValueError
        If the side is ``pretrained`` and no encoder is given, or ``units`` and no inventory.
    """
    # torch's initialisers draw from the global generator: it is put back, so that nobody else's randomness changes.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network: Network
        if config.side == "logmel":
            network = LogMelNetwork(dropout=config.dropout)
        elif config.side == "untrained":
            network = _mixture(Encoder(config.encoder), config)
        elif config.side == "units":
            if inventory is None:
                raise ValueError("the side that reads units must be given an inventory, but has none; fit units first")
            network = UnitNetwork(inventory, config.unit_input, dropout=config.dropout)
        elif encoder is None:
            raise ValueError("the pretrained side must be given an encoder, but has none; read one from a checkpoint")
        else:
            network = _mixture(encoder, config)
        return Recognizer(network, tokenizer, config)


def _mixture(encoder: Encoder, config: FinetuneConfig) -> LayerMixture:
    return LayerMixture(encoder, logmel=config.logmel_beside, dropout=config.dropout, cache_mb=config.batch.cache_mb)


def recognizer_from_bundle(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Recognizer:
    """Return the recogniser of a bundle made from :meth:`Recognizer.export`, in evaluation mode.

    Raises
    ------
    ModelRefused
        If a tensor is missing, unknown or of the wrong shape, or the tokeniser is another one's.
    """
    tokenizer = Tokenizer.restore(tensors, header["tokenizer"])
    head = tensors.get("head.weight")
    if head is not None and len(head) != len(tokenizer):
        raise ModelRefused(
            f"the recogniser's head must have one output a symbol, but has {len(head)}, and its tokeniser "
            f"{len(tokenizer)} symbols: they are of different trainings; make the bundle again (`speechunits finetune`)"
        )
    # Bundles of earlier versions say nothing of what came later.
    later = {name: header.get(name, False) for name in ("silent_edges", "logmel_beside")}
    config = FinetuneConfig(side=header["side"], **later)
    encoder = inventory = None
    if config.side == "units":
        inventory = restored_inventory(tensors, header)
        config = replace(config, unit_input=header["reads"])
    if header["encoder"] is not None:
        config = replace(config, encoder=build_config(EncoderConfig, header["encoder"], origin="encoder of the bundle"))
        encoder = Encoder(config.encoder)
    recognizer = build_recognizer(config, tokenizer, encoder, inventory)
    weights = {name: tensor for name, tensor in tensors.items() if name != "tokenizer" and not name.startswith(PREFIX)}
    load_exported(recognizer, weights, "")
    return recognizer.eval()
