"""The ONNX graph finds the units that the bundle finds."""

import numpy as np
import pytest
import torch

from speechunits.config import UnitsConfig
from speechunits.encoder.encoder import Encoder
from speechunits.errors import UsageError
from speechunits.features.mel import FourierLogMel, LogMel
from speechunits.frames import SAMPLE_RATE_HZ
from speechunits.units.bundle import write_bundle
from speechunits.units.export import export_onnx
from speechunits.units.fit import fit_units
from speechunits.units.units import Units
from tests.units.conftest import noise

runtime = pytest.importorskip("onnxruntime")


def check(units, path, seconds=2, agreement=0.995):
    """Units of recordings of several lengths must agree, but where two centroids are equally near."""
    export_onnx(units, path, seconds=seconds)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[1]
    assert size == seconds * SAMPLE_RATE_HZ + 80
    same = total = 0
    for samples in (400, 719, 720, min(20_011, seconds * SAMPLE_RATE_HZ), seconds * SAMPLE_RATE_HZ):
        waveform = noise(samples, samples)
        padded = np.zeros((1, size), np.float32)
        padded[0, :samples] = waveform
        (found,) = session.run(["units"], {"waveform": padded, "length": np.array([samples])})
        expected = units.units(waveform)
        assert found.dtype == np.int64
        same += int((found[: len(expected)] == expected).sum())
        total += len(expected)
    assert same / total >= agreement
    assert len(set(found.tolist())) > 1


def test_units_of_lower_precision_are_those_of_full(units, tmp_path):
    settings = {**units.header["units"], "precision": "bf16"}
    lower = Units(units.tensors, {**units.header, "units": settings})
    export_onnx(lower, tmp_path / "lower.onnx", seconds=2)
    export_onnx(units, tmp_path / "full.onnx", seconds=2)
    assert (tmp_path / "lower.onnx").read_bytes() == (tmp_path / "full.onnx").read_bytes()


@pytest.mark.parametrize("seconds", [1, 2, 7])
def test_units_of_a_log_mel_encoder(units, tmp_path, seconds):
    check(units, tmp_path / "units.onnx", seconds)


@pytest.mark.parametrize(
    "settings",
    [{"source": "codebook", "clusters": 6}, {"source": "codebook", "clusters": 0}, {"layer": -1},
     {"layer": 2, "normalize": True, "smooth": 1, "residual_clusters": 4}],
    ids=["codebook", "pairs", "latents", "residual"],
)  # fmt: skip
def test_other_sources(settings, encoder_bundle, corpus, tmp_path):
    config = UnitsConfig(**{"clusters": 8, "sample_frames": 800, "iterations": 4, **settings})
    check(fit_units(encoder_bundle, corpus[:4], config, path=tmp_path / "units.safetensors"), tmp_path / "units.onnx")


@pytest.mark.parametrize(
    "changes", [{"frontend_norm": "group", "pre_norm": False}, {"relative_buckets": 32, "input_epsilon": 1e-7}],
    ids=["group", "relative"],
)  # fmt: skip
def test_units_of_a_waveform_encoder(changes, corpus, tmp_path):
    from speechunits.config import EncoderConfig, to_tree

    config = EncoderConfig(frontend="waveform", channels=16, dim=24, layers=2, heads=2, ffn_dim=32, position_kernel=8,
                           position_groups=4, **changes)  # fmt: skip
    torch.manual_seed(0)
    tensors = {f"encoder.{name}": tensor for name, tensor in Encoder(config).state_dict().items()}
    write_bundle(tmp_path / "encoder.safetensors", tensors, {"kind": "encoder", "encoder": to_tree(config)})
    config = UnitsConfig(clusters=8, layer=1, sample_frames=800, iterations=4)
    check(fit_units(tmp_path / "encoder.safetensors", corpus[:4], config, path=tmp_path / "u.safetensors"),
          tmp_path / "units.onnx")  # fmt: skip


def test_what_cannot_be_exported_is_refused(units, corpus, tmp_path):
    with pytest.raises(UsageError, match="within 1 and 20, but is 21"):
        export_onnx(units, tmp_path / "x.onnx", seconds=21)
    config = UnitsConfig(source="mfcc", clusters=5, sample_frames=500)
    with pytest.raises(UsageError, match="MFCC"):
        export_onnx(fit_units(None, corpus[:3], config, path=tmp_path / "m.safetensors"), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_log_mel_by_products_equals_log_mel_by_transform():
    mel = LogMel(80)
    waveforms = torch.from_numpy(np.stack([noise(4000, 1), 0.001 * noise(4000, 2)]))
    lengths = torch.tensor([4000, 3000])
    expected, counts = mel(waveforms, lengths)
    found, others = FourierLogMel(mel)(waveforms, lengths)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert counts.tolist() == others.tolist()
