"""A speech encoder as the network of a recogniser: a learned mixture of its layers, alone or beside log-mel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechunits.asr.baseline import LogMelNetwork
from speechunits.asr.frozen import FrozenLayers, normalized
from speechunits.asr.masks import augment_masks
from speechunits.config import AugmentConfig
from speechunits.encoder.encoder import Encoder
from speechunits.frames import frame_count, frame_counts


class LayerMixture(nn.Module):
    """Σ_k softmax(w)_k · norm(layer_k) over the projected latents and every block (ELMo, Peters et al. 2018, eq. 1).

    Each layer is normalised without learned scales: layers differ in size by orders of magnitude, and the weights
    should say how useful a layer is, not how large. With ``logmel`` the mixture is heard by the small log-mel network,
    beside its own input: few labels suffice for that network, and so for what it hears.
    """

    def __init__(self, encoder: Encoder, *, logmel: bool = False, dropout: float = 0.1, cache_mb: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = nn.Parameter(torch.zeros(encoder.num_layers + 1))
        self.network = LogMelNetwork(bins=encoder.config.mel_bins, dropout=dropout) if logmel else None
        self.enter = nn.Linear(encoder.config.dim, self.network.dim) if self.network is not None else None
        self._frozen = False
        self._known = FrozenLayers(cache_mb * 2**20)

    @property
    def frozen(self) -> bool:
        """The encoder gets no gradient, so that a fresh head cannot spoil what pretraining learnt.

        Beside log-mel it then makes the same of a recording whenever it hears it, and that is kept.
        """
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        if not frozen:
            self._known.forget()

    @property
    def keeps(self) -> bool:
        """Whether what has been encoded once is not encoded again."""
        return self._frozen and self.network is not None

    @property
    def dim(self) -> int:
        """Channels of the output."""
        return self.encoder.config.dim if self.network is None else self.network.dim

    def forward(
        self, waveforms: Tensor, lengths: Tensor, *,
        augment: AugmentConfig | None = None, seed: int = 0, mel: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return ``(B, S, D)`` features and ``(B,)`` frame counts of ``(B, T)`` waveforms; ``augment`` masks them.

        ``mel`` is their ``(B, M, bins)`` log-mel where it has been computed already.
        """
        if mel is None and self.network is not None:
            mel, _ = self.network.features(waveforms, lengths)  # once for both that hear it
        frame_lengths = frame_counts(lengths)
        if self.keeps:
            layers = list(self._known.of(self.encoder, waveforms, lengths, mel).unbind(dim=1))
        else:
            masks: dict[str, Tensor] = {}
            if augment is not None:
                size, channels = frame_count(waveforms.shape[1]), self.encoder.config.channels
                time, channel = augment_masks(augment, frame_lengths, size, channels, seed=seed)
                masks = {"mask": time, "channel_mask": channel}
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
                layers = normalized(self.encoder(waveforms, lengths, **masks, mel=mel).layers)
        mixed = sum(share * layer.float() for share, layer in zip(self.weights.softmax(dim=0), layers, strict=True))
        assert isinstance(mixed, Tensor)
        if self.network is None or self.enter is None:
            return mixed, frame_lengths
        if augment is not None:
            # Pretraining has taught the encoder to fill in what is masked before it.
            time, channel = augment_masks(augment, frame_lengths, *mixed.shape[1:], seed=seed + 1)
            mixed = mixed.masked_fill(time[..., None] | channel[:, None, :], 0.0)
        heard: tuple[Tensor, Tensor] = self.network(
            waveforms, lengths, augment=augment, seed=seed + 2, mel=mel, beside=self.enter(mixed)
        )
        return heard
