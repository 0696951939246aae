"""Units while a recording goes on are those of the whole, and come as early as is said."""

import io
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import soundfile
import torch

from speechunits.cli import main
from speechunits.config import EncoderConfig, QuantizerConfig, UnitsConfig, build_config, to_tree
from speechunits.encoder.encoder import Encoder
from speechunits.encoder.quantizer import ProductQuantizer
from speechunits.errors import UsageError
from speechunits.frames import CORE_FRAMES, HOP, canonical_windows, frame_count, window_start, window_stop
from speechunits.units.bundle import write_bundle
from speechunits.units.extract import cut_windows
from speechunits.units.fit import fit_units
from speechunits.units.live import LiveUnits, _Encoded, latency_samples
from speechunits.units.microphone import pcm_chunks, transcribe_stream
from speechunits.units.reading import read_transcripts
from speechunits.units.sequence import merged
from speechunits.units.units import Units
from tests.units.conftest import noise

TINY = {
    "channels": 32, "dim": 32, "layers": 2, "heads": 2, "ffn_dim": 48, "position_kernel": 7, "position_groups": 4,
    "causal": True,
}  # fmt: skip
ENCODERS = {
    "logmel": {"input_norm": "running"},
    "waveform": {"frontend": "waveform", "input_norm": "none", "pre_norm": False},
    "gru": {"input_norm": "running", "context": "gru"},
}
CORE = CORE_FRAMES * HOP
LENGTHS = [0, 1, 399, 400, 401, 719, 720, 721, 4_321, CORE + 80, 319_999]
LONG = [CORE + 79, CORE + 400, 320_000, 320_001, 2 * CORE + 999, *range(3_000, 350_000, 23_456)]


def make(folder, corpus, name="logmel", **options):
    torch.manual_seed(0)
    config = build_config(EncoderConfig, TINY | ENCODERS[name])
    quantizer = ProductQuantizer(32, 16, QuantizerConfig(groups=2, entries=8))
    tensors = {f"encoder.{key}": tensor for key, tensor in Encoder(config).state_dict().items()}
    tensors |= {f"quantizer.{key}": tensor for key, tensor in quantizer.state_dict().items()}
    header = {
        "kind": "encoder",
        "encoder": to_tree(config),
        "quantizer": to_tree(quantizer.config),
        "quantizer_dim": 16,
    }
    write_bundle(folder / "encoder.safetensors", tensors, header)
    fields = {"clusters": 12, "layer": 1, "sample_frames": 600, "iterations": 5} | options
    return fit_units(folder / "encoder.safetensors", corpus[:4], UnitsConfig(**fields), path=folder / "u.safetensors")


@pytest.fixture(scope="module")
def causal(corpus, tmp_path_factory):
    return make(tmp_path_factory.mktemp("causal"), corpus)


def hear(units, waveform, size):
    """Return the units of a stream in pieces of ``size`` samples; each must come as soon as the latency says."""
    live, found = LiveUnits(units), []
    margins = []
    for start in range(0, len(waveform), size):
        heard = live.push(waveform[start : start + size])
        found.append(heard.units)
        margins.append(heard.margins)
        ahead = live.latency_samples - 400
        assert sum(map(len, found)) == frame_count(max(0, live.samples - ahead))
    heard = live.finish()
    return np.concatenate([*found, heard.units]), np.concatenate([*margins, heard.margins])


def assert_same(units, waveform, size, share=None):
    """Require equal units but where two centroids are almost equally near, in bf16 all but a share."""
    expected = units.units(waveform)
    found, _ = hear(units, waveform, size)
    assert len(found) == len(expected)
    differ = np.flatnonzero(found != expected)
    if share is not None:
        assert len(differ) <= (1 - share) * max(1, len(found))
        return
    if len(differ):
        pieces = [piece.features for piece in units.extractor.pieces(waveform)]
        assert (units.margins(np.concatenate(pieces))[differ] < 1e-4).all()


def with_precision(units, precision):
    return Units(units.tensors, {**units.header, "units": {**units.header["units"], "precision": precision}})


@pytest.mark.parametrize("samples", [*LENGTHS, *(pytest.param(samples, marks=pytest.mark.slow) for samples in LONG)])
def test_a_stream_gives_the_units_of_the_whole(causal, samples):
    size = int(np.random.default_rng(samples).integers(300, 9_000))
    assert_same(causal, noise(samples, 3), size)


@pytest.mark.parametrize("name", ["waveform", "gru"])
@pytest.mark.parametrize("smooth", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_every_causal_encoder_streams(corpus, tmp_path, name, smooth):
    units = make(tmp_path, corpus, name, smooth=smooth)
    assert LiveUnits(units).latency_samples == 400 + 320 * (smooth // 2)
    assert_same(units, noise(CORE + 12_345, 4), 5_000)


@pytest.mark.parametrize("smooth", [1, 3])
def test_the_latents_stream(corpus, tmp_path, smooth):
    units = make(tmp_path, corpus, layer=-1, smooth=smooth)
    assert units.header["units"]["layer"] == -1
    assert_same(Units.load(tmp_path / "u.safetensors"), noise(CORE + 3_333, 5), 1_600)


@pytest.mark.parametrize("clusters", [0, 6])
def test_a_codebook_streams(corpus, tmp_path, clusters):
    units = make(tmp_path, corpus, source="codebook", clusters=clusters)
    assert LiveUnits(units).latency_samples == 400
    assert_same(units, noise(CORE + 3_333, 5), 1_600)
    # Codes have no centroids, so nothing is known of how near the second is.
    out = io.StringIO()
    transcribe_stream(io.BytesIO(pcm(8_000).tobytes()), out, units, form="ctm")
    assert {len(line.split()) for line in out.getvalue().splitlines()} == {6 if clusters else 5}


@pytest.mark.parametrize("samples", [50_000, CORE + 40_000])
def test_bf16_differs_little(causal, samples):
    assert_same(with_precision(causal, "bf16"), noise(samples, 6), 1_600, share=0.995)


@pytest.mark.parametrize("samples", [0, 400, CORE + 79, CORE + 80, 319_999, 320_001, 700_001])
def test_windows_of_a_causal_encoder_do_not_depend_on_the_end(samples):
    windows = canonical_windows(samples, causal=True)
    longer = canonical_windows(samples + 500_000, causal=True)
    assert [(w.start, w.first, w.skip) for w in windows] == [(w.start, w.first, w.skip) for w in longer[: len(windows)]]
    assert sum(window.count for window in windows) == frame_count(samples)
    found = list(cut_windows(np.array_split(np.arange(samples, dtype=np.float32), 7), causal=True))
    assert [window for window, _ in found] == windows
    assert all(np.array_equal(part, np.arange(window.start, window.stop)) for window, part in found)


def pcm(samples, seed=8):
    return (noise(samples, seed) * 20_000).astype("<i2")


@pytest.mark.parametrize("frames", [False, True])
def test_the_command_writes_what_transcribe_writes(causal, tmp_path, monkeypatch, capsys, frames):
    causal.save(tmp_path / "u.safetensors")
    heard = pcm(30_001)
    soundfile.write(tmp_path / "stream.wav", heard, 16_000, subtype="PCM_16")
    common = ["--model", str(tmp_path / "u.safetensors"), *(["--frames"] if frames else [])]
    for form in ("text", "ctm"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(heard.tobytes())))
        assert main(["transcribe", "--stream", *common, "--format", form, "--chunk", "37"]) == 0
        streamed = capsys.readouterr().out
        assert main(["transcribe", str(tmp_path / "stream.wav"), *common, "--format", form]) == 0
        whole = capsys.readouterr().out.removeprefix("stream\t")
        if form == "text":
            assert streamed == whole
        else:
            assert [line.split()[:5] for line in streamed.splitlines()] == [
                line.split()[:5] for line in whole.splitlines()
            ]
            (tmp_path / "s.ctm").write_text(streamed)
            (found,) = read_transcripts(tmp_path / "s.ctm", "ctm")
            assert found.duration_s == pytest.approx(30_001 / 16_000)
            assert np.array_equal(merged(found.units), merged(causal.transcribe(tmp_path / "stream.wav").units))


class Pipe(io.BytesIO):
    """A pipe that tells what had been written when each chunk was asked for."""

    def __init__(self, data, out):
        super().__init__(data)
        self.out, self.seen = out, []

    def read1(self, size=-1):
        self.seen.append(len(self.out.getvalue().split()))
        return super().read1(size)


def test_units_are_written_at_the_latency_that_is_stated(causal):
    out, heard = io.StringIO(), pcm(20_000)
    pipe = Pipe(heard.tobytes(), out)
    transcribe_stream(pipe, out, causal, frames=True, chunk_ms=50)
    latency = latency_samples(causal.header)
    assert latency == 720
    for chunks, written in enumerate(pipe.seen[:-1]):
        assert written == frame_count(max(0, 800 * chunks - (latency - 400)))
    assert len(out.getvalue().split()) == frame_count(20_000)


def test_short_and_odd_streams(causal, capsys):
    for data, form, expected in (
        (b"", "text", "\n"), (b"\0" * 798, "text", "\n"), (b"\0" * 3, "ctm", ";; no units in stream 0.0000625\n"),
    ):  # fmt: skip
        out = io.StringIO()
        transcribe_stream(io.BytesIO(data), out, causal, form=form)
        assert out.getvalue() == expected
    assert "odd number of bytes" in capsys.readouterr().err


class Interrupted(io.BytesIO):
    """A microphone during which Ctrl-C is pressed: while it is waited for, or while units are computed."""

    def __init__(self, data, after, *, reading):
        super().__init__(data)
        self.after = after
        self.reading = reading

    def read1(self, size=-1, /):
        self.after -= 1
        if self.after == 0 and self.reading:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return super().read1(size)


@pytest.mark.parametrize("form", ["text", "ctm"])
@pytest.mark.parametrize("reading", [True, False])
def test_an_interruption_ends_a_stream_as_its_end_does(causal, monkeypatch, form, reading):
    data = (noise(48_000) * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes()
    whole, cut = io.StringIO(), io.StringIO()
    transcribe_stream(io.BytesIO(data[: 2 * 16_000]), whole, causal, form=form)
    pushed = []

    def push(self, samples, real=LiveUnits.push):
        pushed.append(len(samples))
        if len(pushed) == 10 and not reading:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, samples)

    monkeypatch.setattr(LiveUnits, "push", push)
    before = signal.getsignal(signal.SIGINT)
    transcribe_stream(Interrupted(data, 11, reading=reading), cut, causal, form=form)
    assert cut.getvalue() == whole.getvalue()
    assert signal.getsignal(signal.SIGINT) == before


def test_what_cannot_be_streamed_is_refused_with_the_reason(causal, units, corpus, tmp_path, capsys):
    with pytest.raises(UsageError, match="reads the whole window"):
        LiveUnits(units)
    mfcc = fit_units(None, corpus[:2], UnitsConfig(source="mfcc", clusters=4), path=tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="units of MFCC cannot be streamed"):
        LiveUnits(mfcc)
    with pytest.raises(UsageError, match="text or ctm, but eaf"):
        transcribe_stream(io.BytesIO(), io.StringIO(), causal, form="eaf")
    with pytest.raises(UsageError, match="at least 1 ms, but is 0"):
        transcribe_stream(io.BytesIO(), io.StringIO(), causal, chunk_ms=0)
    units.save(tmp_path / "plain.safetensors")
    causal.save(tmp_path / "causal.safetensors")
    assert main(["transcribe", "--stream", "--model", str(tmp_path / "plain.safetensors")]) == 2
    assert main(["transcribe", "--stream", "a.wav", "--model", str(tmp_path / "causal.safetensors")]) == 2
    assert main(["transcribe", "--model", str(tmp_path / "causal.safetensors")]) == 2
    assert main(["transcribe", "a.wav", "--model", str(tmp_path / "causal.safetensors"), "--chunk", "100"]) == 2
    told = capsys.readouterr().err
    for words in ("reads the whole window", "FILE is given too", "name recordings", "--chunk is what --stream reads"):
        assert words in told


def test_info_states_the_latency(causal, units, tmp_path, capsys):
    said = []
    for inventory in (causal, units):
        inventory.save(tmp_path / "u.safetensors")
        assert main(["info", str(tmp_path / "u.safetensors")]) == 0
        said.append(json.loads(capsys.readouterr().out)["stream"])
    assert said[0] == "latency 45 ms (720 samples) + chunk"
    assert said[1].startswith("refused: these units cannot be streamed")


def test_an_interruption_keeps_what_the_pipe_gave(causal):
    """A chunk of a second of which a part had come when Ctrl-C was pressed."""
    heard = pcm(30_000)
    read, write = os.pipe()
    os.write(write, heard.tobytes())
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    out = io.StringIO()
    try:
        with os.fdopen(read, "rb") as source:
            transcribe_stream(source, out, causal, frames=True, chunk_ms=1000)
    finally:
        timer.join()
        os.close(write)
    assert len(out.getvalue().split()) == frame_count(30_000)


class Trickle(io.RawIOBase):
    """A source that gives an odd number of bytes at a time."""

    def __init__(self, data):
        super().__init__()
        self._rest = io.BytesIO(data)

    def read(self, size=-1, /):
        return self._rest.read(min(size, 801))


def test_short_reads_part_no_sample():
    heard, told = pcm(16_000), []
    chunks = [*pcm_chunks(Trickle(heard.tobytes()), 1_600, told.append)]
    assert np.array_equal(np.concatenate(chunks), heard.astype(np.float32) / np.float32(2**15))
    assert told == []
    (_,) = pcm_chunks(Trickle(b"\0" * 3), 1_600, told.append)
    assert len(told) == 1


def test_no_window_hears_more_than_it_owns(causal, monkeypatch):
    """Attention over all that one push brought would cost the square of it."""
    heard, waveform = [], noise(16_000 * 60)

    def extend(self, samples, real=_Encoded.extend):
        heard.append(len(samples))
        return real(self, samples)

    monkeypatch.setattr(_Encoded, "extend", extend)
    assert_same(causal, waveform, len(waveform))
    assert max(heard) == window_stop(CORE_FRAMES) - window_start(CORE_FRAMES)
