"""Inventories: fitted, saved, loaded, applied; a unit depends on its window alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from speechunits.audio.manifest import Recording
from speechunits.audio.resample import resample
from speechunits.config import UnitsConfig
from speechunits.encoder.encoder import encoder_from_export
from speechunits.errors import InputRefused, UsageError
from speechunits.features.mfcc import mfcc
from speechunits.frames import canonical_windows, frame_count
from speechunits.units import fit
from speechunits.units.bundle import read_bundle, write_bundle
from speechunits.units.extract import FeatureExtractor, load_recordings
from speechunits.units.features import LayerFeatures, MfccFeatures, smoothed
from speechunits.units.fit import fit_units
from speechunits.units.pseudotext import Pseudotext
from speechunits.units.units import Units
from tests.reference.smoothing import running_mean
from tests.units.conftest import noise

LENGTHS = [0, 1, 399, 400, 719, 720, 31_999, 80_080, 320_000, 320_001, 900_000]


@pytest.fixture(scope="module")
def encoder(encoder_bundle):
    return encoder_from_export(*read_bundle(encoder_bundle))


@pytest.mark.parametrize("samples", LENGTHS)
def test_every_recording_gives_a_unit_a_frame(units, samples):
    found = units.units(noise(samples))
    assert found.shape == (frame_count(samples),)
    assert found.dtype == np.int64
    assert ((found >= 0) & (found < 12)).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_are_those_of_the_canonical_windows(encoder, precision):
    extractor = FeatureExtractor(LayerFeatures(encoder, [1], precision))
    waveform = noise(330_000)
    window = canonical_windows(len(waveform))[1]
    padded = torch.zeros(1, window.padded)
    padded[0, : window.stop - window.start] = torch.from_numpy(waveform[window.start : window.stop])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        layer = encoder(padded, torch.tensor([window.stop - window.start])).layers[1].float()
    features = extractor.features(waveform)
    assert features.shape == (frame_count(330_000), 32)
    assert np.array_equal(features[800:], layer[0, window.skip : window.skip + window.count].numpy())


def test_a_short_recording_is_one_pass_over_the_file(encoder):
    extractor = FeatureExtractor(LayerFeatures(encoder, [0, 2]))
    waveform = noise(40_000)
    assert extractor.features(waveform) == pytest.approx(extractor.whole(waveform), abs=1e-4)


def test_mfcc_units_need_no_encoder(corpus, tmp_path):
    path = tmp_path / "mfcc.safetensors"
    units = fit_units(None, corpus, UnitsConfig(source="mfcc", clusters=8, sample_frames=1000), path=path)
    waveform = noise(20_000)
    expected = mfcc(torch.from_numpy(waveform)).numpy()
    assert FeatureExtractor(MfccFeatures()).features(waveform) == pytest.approx(expected)
    assert np.array_equal(Units.load(path).units(waveform), units.assign(running_mean(expected, 3)))
    assert units.header["quality"]["other_precision_share"] is None


@pytest.mark.parametrize("width", [1, 3, 5])
def test_smoothing_averages_real_frames_only(width):
    class Given(MfccFeatures):
        def compute(self, waveforms, lengths):
            frames = torch.arange(2 * 9 * 39, dtype=torch.float32).sin().view(2, 9, 39)
            frames[1, 4:] = torch.nan  # padding may hold anything
            return frames

    lengths = torch.tensor([400 + 8 * 320, 400 + 3 * 320])
    found = smoothed(Given(), width).compute(torch.zeros(2, 400 + 8 * 320), lengths)
    given = Given().compute(None, None)
    assert found[0].numpy() == pytest.approx(running_mean(given[0].numpy(), width), abs=1e-6)
    assert found[1, :4].numpy() == pytest.approx(running_mean(given[1, :4].numpy(), width), abs=1e-6)


def test_centroids_are_fitted_on_speech_unless_asked_otherwise(encoder_bundle, tmp_path):
    samples = noise(64_000)
    samples[32_000:] *= 1e-5
    soundfile.write(tmp_path / "half.wav", samples, 16_000, subtype="FLOAT")
    half = [Recording(id="half", audio=tmp_path / "half.wav", duration_s=4.0, split="train")]
    config = UnitsConfig(clusters=4, layer=1)
    points = [
        fit_units(encoder_bundle, half, replace(config, speech_only=only), path=tmp_path / "u.safetensors").header
        ["quality"]["points"]
        for only in (True, False)
    ]  # fmt: skip
    assert points[1] == frame_count(64_000)
    assert 0.4 * points[1] < points[0] < 0.6 * points[1]


@pytest.mark.parametrize("width", [0, 2, -1])
def test_an_even_width_has_no_middle(width):
    with pytest.raises(ValueError, match=f"smooth must be an odd number of frames, at least 1, but is {width}"):
        UnitsConfig(smooth=width)


def test_alone_or_among_others_units_are_the_same(units, corpus):
    together = {recording.id: ids for recording, ids in units.recordings(corpus)}
    backwards = {recording.id: ids for recording, ids in units.recordings(corpus[::-1])}
    for recording, waveform in load_recordings(corpus):
        alone = units.units(waveform)
        assert np.array_equal(alone, together[recording.id])
        assert np.array_equal(alone, backwards[recording.id])


def test_other_rates_are_resampled(units):
    waveform = noise(24_000)
    assert np.array_equal(units.units(waveform, 48_000), units.units(resample(waveform, 48_000)))
    assert len(units.units(waveform, 48_000)) == frame_count(8_000)


def test_bad_waveforms_are_refused(units):
    with pytest.raises(InputRefused, match=r"shape \(2, 800\)"):
        units.units(np.zeros((2, 800), np.float32))
    with pytest.raises(InputRefused, match="finite"):
        units.units(np.full(800, np.nan, np.float32))
    for rate_hz in (0, -16_000, math.nan, math.inf):
        with pytest.raises(InputRefused, match="a rate must be above 0 Hz, but is"):
            units.units(noise(800), rate_hz)


def test_the_card_says_what_was_measured(units):
    quality = units.header["quality"]
    assert quality["points"] == 1500
    assert quality["dead_units"] == 0
    assert 1 < quality["perplexity"] <= 12
    assert quality["compared_files"] == 9
    assert 0 <= quality["other_precision_share"] < 0.2
    assert 0 <= quality["whole_file_share"] < 0.2
    assert units.header["units"]["layer"] == 1


def test_a_saved_inventory_is_the_same_inventory(units, tmp_path):
    units.save(tmp_path / "u.safetensors")
    again = Units.load(tmp_path / "u.safetensors")
    waveform = noise(50_000, 5)
    assert np.array_equal(again.units(waveform), units.units(waveform))
    assert again.key == units.key


def test_equal_seeds_give_equal_bundles_in_any_order(encoder_bundle, corpus, tmp_path):
    config = UnitsConfig(clusters=10, layer=2, sample_frames=800, iterations=4, normalize=True)
    first = fit_units(encoder_bundle, corpus, config, path=tmp_path / "a.safetensors")
    fit_units(encoder_bundle, corpus[::-1], config, path=tmp_path / "b.safetensors")
    other = fit_units(encoder_bundle, corpus, replace(config, seed=1), path=tmp_path / "c.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert first.key != other.key


def test_a_large_corpus_is_not_read_to_its_end(encoder_bundle, corpus, tmp_path, monkeypatch):
    heard, real = [], fit.map_recordings

    def counted(function, recordings, on_fault):
        heard.append(list(recordings))
        return real(function, heard[-1], on_fault)

    monkeypatch.setattr(fit, "map_recordings", counted)
    config = UnitsConfig(clusters=4, layer=0, sample_frames=50, iterations=2)
    units = fit_units(encoder_bundle, corpus, config, path=tmp_path / "a.safetensors")
    (drawn,) = heard
    frames = [50 * recording.duration_s for recording in drawn]
    assert sum(frames[:-1]) < 4 * 50 <= sum(frames)
    assert units.header["quality"]["points"] == 50
    # All of it where passes over every frame are asked for.
    fit_units(encoder_bundle, corpus, replace(config, stream_passes=1), path=tmp_path / "b.safetensors")
    assert heard[1] == drawn
    assert heard[2] == corpus


def test_normalised_units_do_not_depend_on_the_scale_of_a_feature(units):
    features = np.random.default_rng(0).standard_normal((50, 32)).astype(np.float32)
    mean, scale = torch.full((32,), 3.0), torch.linspace(1, 100, 32)
    normalised = Units({**units.tensors, "units.mean": mean, "units.scale": scale}, units.header)
    assert np.array_equal(normalised.assign(features * scale.numpy() + mean.numpy()), units.assign(features))


def test_the_codebook_gives_pairs_or_is_reduced(encoder_bundle, encoder, corpus, tmp_path):
    pairs = fit_units(
        encoder_bundle, corpus, UnitsConfig(source="codebook", clusters=0), path=tmp_path / "p.safetensors"
    )
    reduced = fit_units(
        encoder_bundle,
        corpus,
        UnitsConfig(source="codebook", clusters=5, sample_frames=900),
        path=tmp_path / "r.safetensors",
    )
    waveform = noise(30_000, 9)
    ids, few = Units.load(tmp_path / "p.safetensors").units(waveform), reduced.units(waveform)
    assert pairs.clusters == 64
    tensors, _ = read_bundle(encoder_bundle)
    padded = torch.zeros(1, 32_080)
    padded[0, :30_000] = torch.from_numpy(waveform)
    with torch.inference_mode():
        latents = encoder(padded, torch.tensor([30_000])).latents[0, : frame_count(30_000)]
    scores = latents @ tensors["quantizer.scores.weight"].T + tensors["quantizer.scores.bias"]
    codes = scores.view(-1, 2, 8).argmax(dim=-1)
    assert ids.tolist() == (codes[:, 0] * 8 + codes[:, 1]).tolist()
    assert reduced.clusters == 5
    # A pair of codes has one embedding, so it falls into one cluster.
    assert len(set(zip(ids.tolist(), few.tolist(), strict=True))) == len(set(ids.tolist()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "other"}, "kmeans, codebook or mfcc"),
        ({"layer": "auto"}, "layer must be a number where none is chosen"),
        ({"layer": 3}, "within -1 .* and 2"),
        ({"layer": 1, "clusters": 0}, "at least 1"),
        ({"layer": 1, "clusters": 5000}, "fewer clusters"),
    ],
)
def test_impossible_requests_are_usage_errors(encoder_bundle, corpus, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        fit_units(encoder_bundle, corpus, UnitsConfig(**options), path=tmp_path / "u.safetensors")
    assert not (tmp_path / "u.safetensors").exists()


def test_an_encoder_without_a_codebook_is_named(encoder_bundle, corpus, tmp_path):
    tensors, header = read_bundle(encoder_bundle)
    path = tmp_path / "plain.safetensors"
    write_bundle(
        path,
        {k: v for k, v in tensors.items() if k.startswith("encoder.")},
        {"kind": "encoder", "encoder": header["encoder"]},
    )
    with pytest.raises(UsageError, match="no codebook"):
        fit_units(path, corpus, UnitsConfig(source="codebook"), path=tmp_path / "u.safetensors")
    with pytest.raises(UsageError, match="need an encoder bundle"):
        fit_units(None, corpus, UnitsConfig(layer=1), path=tmp_path / "u.safetensors")


def test_a_bad_recording_is_left_out_or_refused(encoder_bundle, corpus, tmp_path):
    bad = replace(corpus[0], id="bad", audio=tmp_path / "bad.wav")
    bad.audio.write_text("no audio")
    config = UnitsConfig(layer=0, clusters=4, sample_frames=1000, iterations=2)
    faults = []
    fit_units(
        encoder_bundle, [bad, *corpus], config, path=tmp_path / "u.safetensors", on_fault=lambda *f: faults.append(f)
    )
    assert [name for name, _ in faults] == ["bad"]
    with pytest.raises(InputRefused, match=r"bad\.wav"):
        fit_units(encoder_bundle, [bad, *corpus], config, path=tmp_path / "v.safetensors")


def test_bundles_of_other_kinds_and_grids_are_refused(units, encoder_bundle, tmp_path):
    with pytest.raises(InputRefused, match="kind 'units'"):
        Units.load(encoder_bundle)
    path = tmp_path / "grid.safetensors"
    write_bundle(path, units.tensors, {**units.header, "grid": {"hop": 160}})
    with pytest.raises(InputRefused, match="frame grid"):
        Units.load(path)
    with pytest.raises(InputRefused, match="centroids must be"):
        Units({**units.tensors, "units.centroids": torch.zeros(3, 3)}, units.header)
    with pytest.raises(InputRefused, match="must have centroids"):
        Units({k: v for k, v in units.tensors.items() if k != "units.centroids"}, units.header)


def test_pseudotext_travels_in_the_bundle(units, tmp_path):
    with pytest.raises(UsageError, match="no pseudo-text model"):
        _ = units.pseudotext
    model = Pseudotext.fit([[1, 2, 3] * 20], 12, pieces=20)
    units.with_pseudotext(model).save(tmp_path / "u.safetensors")
    again = Units.load(tmp_path / "u.safetensors")
    assert again.has_pseudotext
    assert again.pseudotext.model == model.model
    with pytest.raises(UsageError, match="over 12 units, but is over 5"):
        units.with_pseudotext(Pseudotext.fit([[1, 2]], 5, pieces=10))


def test_segments_are_read_from_their_file(units, corpus):
    long = corpus[-1]
    segment = replace(long, id="part", start_s=2.0, end_s=5.0, duration_s=3.0)
    waveform, _ = soundfile.read(long.audio, dtype="float32")
    [(_, ids)] = units.recordings([segment])
    assert np.array_equal(ids, units.units(waveform[32_000:80_000]))


def test_a_device_that_is_not_there_is_refused(units):
    with pytest.raises(UsageError, match="but is 'nowhere', which cannot be used"):
        units.to("nowhere")
    assert units.to("cpu") is units
