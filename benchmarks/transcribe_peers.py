"""What `benchmarks.transcribe` compares with: Hugging Face's encoder in a loop, in batches, and as an ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechunits.units.export import plain

FloatArray = NDArray[np.float32]
Work = Callable[[list[Path], Path], None]
_BATCH = 8
TINY = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96,
    "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def make_model(folder: Path, smoke: bool) -> None:  # noqa: FBT001 - as the option
    """Write wav2vec 2.0 base with random weights and the preprocessor that belongs to it."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**(TINY if smoke else {}))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)


def _load(folder: Path, **options: Any) -> tuple[Any, Any]:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    return Wav2Vec2Model.from_pretrained(folder, **options).eval(), Wav2Vec2FeatureExtractor.from_pretrained(folder)


def _predictor(centroids: FloatArray) -> Any:
    """Return scikit-learn's k-means with these centroids."""
    from sklearn.cluster import KMeans

    machine = KMeans(len(centroids), init=centroids, n_init=1, max_iter=1).fit(centroids)
    machine.cluster_centers_ = centroids
    return machine


def _write(out: Path, path: Path, units: NDArray[Any]) -> None:
    (out / f"{path.stem}.txt").write_text(" ".join(map(str, units.tolist())) + "\n", encoding="utf-8")


def plain_loop(folder: Path, layer: int, centroids: FloatArray, threads: int) -> Work:
    """Return the loop of every tutorial: one file, all hidden states, one of them, predict."""
    model, extractor = _load(folder)
    predictor = _predictor(centroids)

    @torch.inference_mode()
    def work(paths: list[Path], out: Path) -> None:
        torch.set_num_threads(threads)
        for path in paths:
            waveform, rate_hz = soundfile.read(path, dtype="float32")
            values = extractor(waveform, sampling_rate=rate_hz, return_tensors="pt").input_values
            hidden = model(values, output_hidden_states=True).hidden_states[layer][0]
            _write(out, path, predictor.predict(hidden.numpy()))

    return work


def batched(folder: Path, layer: int, centroids: FloatArray, threads: int) -> Work:
    """Return batches of eight files of similar length in bf16, all layers up to the wanted one and no more."""
    model, extractor = _load(folder)
    model.encoder.layers = model.encoder.layers[:layer]
    predictor = _predictor(centroids)

    @torch.inference_mode()
    def work(paths: list[Path], out: Path) -> None:
        torch.set_num_threads(threads)
        ordered = sorted(paths, key=lambda path: soundfile.info(path).frames)
        for start in range(0, len(ordered), _BATCH):
            chosen = ordered[start : start + _BATCH]
            waveforms = [soundfile.read(path, dtype="float32")[0] for path in chosen]
            values = extractor(waveforms, sampling_rate=16_000, return_tensors="pt", padding=True)
            mask = torch.zeros(values.input_values.shape, dtype=torch.long)
            for row, waveform in enumerate(waveforms):
                mask[row, : len(waveform)] = 1
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = model(values.input_values, attention_mask=mask).last_hidden_state.float().numpy()
            for path, waveform, rows in zip(chosen, waveforms, hidden, strict=True):
                _write(out, path, predictor.predict(rows[: (len(waveform) - 400) // 320 + 1]))

    return work


class _Hidden(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: Tensor) -> Tensor:
        hidden: Tensor = self.model(values).last_hidden_state
        return hidden


def onnx_graph(folder: Path, layer: int, path: Path) -> Path:
    """Write the encoder up to a layer as ONNX, for recordings of any length."""
    model, _ = _load(folder, attn_implementation="eager")
    model.encoder.layers = model.encoder.layers[:layer]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Hidden(plain(model)), (torch.zeros(1, 16_000),), str(path), input_names=["values"],
            output_names=["hidden"], dynamic_axes={"values": {1: "samples"}, "hidden": {1: "frames"}},
            opset_version=17, dynamo=False,
        )  # fmt: skip
    return path


def _each(run: Callable[[FloatArray], FloatArray], centroids: FloatArray) -> Work:
    squares = np.square(centroids).sum(axis=1)

    def work(paths: list[Path], out: Path) -> None:
        for path in paths:
            waveform, _ = soundfile.read(path, dtype="float32")
            values = ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)
            hidden = run(values[None])[0]
            _write(out, path, np.argmin(squares - 2 * hidden @ centroids.T, axis=1))

    return work


def onnx_runtime(graph: Path, centroids: FloatArray, threads: int) -> Work:
    """Return ONNX Runtime, with all its optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return _each(lambda values: session.run(None, {"values": values})[0], centroids)


def openvino(graph: Path, centroids: FloatArray, threads: int) -> Work:
    """Return OpenVINO, in the precision that it chooses for the processor."""
    import openvino as ov

    compiled = ov.Core().compile_model(str(graph), "CPU", {"INFERENCE_NUM_THREADS": threads})
    return _each(lambda values: compiled(values)[0], centroids)
