"""Any audio file as 16 kHz mono samples; every bad input refused with a reason."""

import numpy as np
import pytest
import soundfile

from speechunits.audio import load
from speechunits.audio.cache import WaveformCache
from speechunits.audio.load import load_waveform, printable, probe, stream_waveform, verify
from speechunits.audio.manifest import Recording
from speechunits.errors import InputRefused
from tests.reference.audio import sine, tone_hz

RATE = 16_000
FORMATS = {"wav": {}, "flac": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {}, "aiff": {}}


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, np.asarray(samples), rate, **options)
    return path


def refused(path, cause):
    for read in (load_waveform, verify):
        with pytest.raises(InputRefused, match=cause) as caught:
            read(path)
        assert path.name in str(caught.value)
        assert ";" in str(caught.value), "a cause, then a remedy"


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_16_khz(tmp_path, rate):
    samples = load_waveform(write(tmp_path / "x.wav", sine(440, 1.0, rate), rate))
    assert samples.dtype == np.float32
    assert abs(len(samples) - RATE) <= 1
    middle = slice(2000, 14_000)
    np.testing.assert_allclose(samples[middle], sine(440, 1.0, RATE)[middle], atol=2e-3)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_decoded(tmp_path, suffix):
    path = write(tmp_path / f"x.{suffix}", sine(440, 1.0, RATE), **FORMATS[suffix])
    samples = load_waveform(path)
    assert abs(len(samples) - RATE) <= 1
    assert abs(tone_hz(samples, RATE) - 440) < 3
    assert abs(probe(path).duration_s - 1.0) < 0.01
    assert verify(path).duration_s == pytest.approx(1.0, abs=0.01)


def test_stereo_is_averaged(tmp_path):
    left, right = sine(440, 0.5, RATE), sine(700, 0.5, RATE)
    samples = load_waveform(write(tmp_path / "x.wav", np.stack([left, right], 1)))
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-4)
    assert probe(tmp_path / "x.wav").channels == 2


def test_24_bit_keeps_its_precision(tmp_path):
    quiet = 1e-5 * sine(440, 0.5, RATE)
    samples = load_waveform(write(tmp_path / "x.wav", quiet, subtype="PCM_24"))
    np.testing.assert_allclose(samples, quiet, atol=2e-7)


@pytest.mark.parametrize("count", [1, 399])
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_very_short_recordings_are_accepted(tmp_path, count, rate):
    samples = load_waveform(write(tmp_path / "x.wav", np.full(count, 0.1), rate))
    assert 1 <= len(samples) <= max(1, round(count * RATE / rate) + 1)


def test_silence_is_accepted(tmp_path):
    assert not load_waveform(write(tmp_path / "x.wav", np.zeros(RATE))).any()


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
def test_a_segment_is_the_same_as_that_part_of_the_whole(tmp_path, rate):
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * rate)
    path = write(tmp_path / "x.wav", noise, rate, subtype="FLOAT")
    whole, part = load_waveform(path), load_waveform(path, start_s=1.03, end_s=2.2107)
    assert len(part) == round(2.2107 * RATE) - round(1.03 * RATE)
    np.testing.assert_allclose(part, whole[round(1.03 * RATE) : round(2.2107 * RATE)], atol=1e-3)
    np.testing.assert_allclose(load_waveform(path, start_s=2.5), whole[round(2.5 * RATE) :], atol=1e-3)


@pytest.mark.parametrize(("start_s", "end_s"), [(0.5, 1.2), (0.9, 0.5), (2.0, None), (-1.0, 0.5)])
def test_a_segment_outside_the_recording_is_refused(tmp_path, start_s, end_s):
    path = write(tmp_path / "x.wav", np.zeros(RATE))
    with pytest.raises(InputRefused, match="segment"):
        load_waveform(path, start_s=start_s, end_s=end_s)


def test_missing(tmp_path):
    refused(tmp_path / "none.wav", "missing")


def test_folder(tmp_path):
    refused(tmp_path, "not a file")


def test_empty(tmp_path):
    (tmp_path / "x.wav").touch()
    refused(tmp_path / "x.wav", "empty")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "raw"])
def test_text_with_the_name_of_audio(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_text("this is a letter, not a recording\n" * 100)
    refused(path, "not audio|truncated")


def claim_size(path, chunk, size):
    """Write another size of a chunk into a file's header."""
    data = bytearray(path.read_bytes())
    where = data.index(chunk) + 4
    data[where : where + 4] = size
    path.write_bytes(data)


def rf64(path, samples):
    return write(path, samples, format="RF64", subtype="PCM_16")


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_aiff_and_rf64_are_whole_or_truncated(tmp_path, subtype):
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    for path in (rf64(tmp_path / "x.wav", noise), write(tmp_path / "x.aiff", noise, subtype=subtype)):
        assert len(load_waveform(path)) == RATE
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
        refused(path, "truncated")


def test_aiff_of_unknown_length_is_not_truncated(tmp_path):
    path = write(tmp_path / "x.aiff", sine(440, 0.5, RATE))
    claim_size(path, b"SSND", b"\x7f\0\0\x08")
    assert len(load_waveform(path)) == RATE // 2


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("loud", [0.1, 0.0])
def test_a_recorder_that_never_wrote_the_size_is_read_to_the_end(tmp_path, channels, loud):
    noise = loud * np.random.default_rng(0).normal(0, 1, (RATE, channels))
    path = write(tmp_path / "x.wav", noise, 16_000)
    whole = load_waveform(path)
    data = bytearray(path.read_bytes())
    where = data.index(b"data") + 4
    data[where : where + 4] = data[4:8] = b"\0\0\0\0"
    path.write_bytes(data)
    np.testing.assert_array_equal(load_waveform(path), whole)
    np.testing.assert_array_equal(load_waveform(path, start_s=0.25, end_s=0.5), whole[4_000:8_000])
    assert verify(path).samples == probe(path).samples == RATE
    # Another chunk after data of no samples holds none.
    path.write_bytes(bytes(data[: where + 4]) + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    refused(path, "0 samples")


def test_a_segment_that_cannot_be_decoded_to_its_end_is_refused(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 48_000)
    path = write(tmp_path / "x.mp3", noise, 48_000)
    whole = len(load_waveform(path))
    assert len(load_waveform(path, start_s=2.0)) >= whole - 2 * RATE - 2304
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputRefused, match=r"truncated|midway"):
        load_waveform(path, start_s=1.0, end_s=2.5)


def test_what_the_system_does_not_let_read_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "x.wav", np.zeros(800))

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(load, "is_truncated", denied)
        refused(path, "cannot be read .Permission denied.")
    folder = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape")
    folder.mkdir()
    refused(path.rename(folder / "x.wav"), "not valid UTF-8")
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    refused(tmp_path / "link.wav", "link to a file that is missing")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_truncated(tmp_path, suffix, share):
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 48_000)
    path = write(tmp_path / f"x.{suffix}", noise, 48_000, **FORMATS[suffix])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "truncated|not audio")


def test_a_wav_file_of_unknown_length_is_not_truncated(tmp_path):
    path = write(tmp_path / "x.wav", sine(440, 0.5, RATE))
    claim_size(path, b"data", b"\xff\xff\xff\xff")
    assert len(load_waveform(path)) == RATE // 2


def test_no_samples(tmp_path):
    refused(write(tmp_path / "x.wav", np.zeros(0)), "0 samples")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_nan_and_infinity(tmp_path, bad, channels):
    samples = np.zeros((RATE, channels), np.float32)
    samples[7_000] = bad
    samples[7_000, -1] = -bad
    refused(write(tmp_path / "x.wav", samples, subtype="FLOAT"), "NaN or infinite")


def test_spaces_and_letters_of_any_script_in_a_name(tmp_path):
    assert len(load_waveform(write(tmp_path / "my tapé 音.wav", np.zeros(800)))) == 800


def test_names_are_printable_on_one_line():
    assert printable(b"a\xffb.wav".decode("utf-8", "surrogateescape")) == "a\\udcffb.wav"
    assert printable("a\tb\nc é") == "a\\tb\\nc é"


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_beyond_one_are_divided_by_their_peak_and_never_clipped(tmp_path, rate, subtype):
    rng = np.random.default_rng(0)
    quiet = rng.uniform(-0.4, 0.4, (3 * rate, 2)).astype(np.float32)
    # The loudest place lies outside the segment, which is as quiet as in the whole all the same.
    quiet[10] = 0.5
    soundfile.write(tmp_path / "quiet.wav", 2 * quiet, rate, subtype=subtype)
    soundfile.write(tmp_path / "loud.wav", 8 * quiet, rate, subtype=subtype)
    quiet, loud = (load_waveform(tmp_path / f"{name}.wav") for name in ("quiet", "loud"))
    np.testing.assert_array_equal(loud, quiet)
    np.testing.assert_array_equal(np.concatenate(list(stream_waveform(tmp_path / "loud.wav"))), loud)
    part = load_waveform(tmp_path / "loud.wav", start_s=1.0, end_s=2.0)
    np.testing.assert_array_equal(part, load_waveform(tmp_path / "quiet.wav", start_s=1.0, end_s=2.0))
    row = Recording(id="loud", audio=tmp_path / "loud.wav", duration_s=3.0)
    np.testing.assert_allclose(WaveformCache([row], 10).read(0, 0, 48_000), np.clip(loud, -1, 1), atol=1 / 32_768)
    assert verify(tmp_path / "quiet.wav").warnings == ()
    (warning,) = verify(tmp_path / "loud.wav").warnings
    assert "reach ±4 (a file of floats); all are divided by that" in warning


def test_what_decoders_put_beyond_one_is_left_as_it_is(tmp_path):
    square = np.sign(np.sin(np.arange(32_000) / 20)).astype(np.float32)
    soundfile.write(tmp_path / "a.ogg", square, 16_000)
    decoded = soundfile.read(tmp_path / "a.ogg", dtype="float32")[0]
    assert np.abs(decoded).max() > 1.05
    np.testing.assert_array_equal(load_waveform(tmp_path / "a.ogg"), decoded)
    np.testing.assert_array_equal(load_waveform(tmp_path / "a.ogg", start_s=0.5, end_s=1), decoded[8_000:16_000])
    assert verify(tmp_path / "a.ogg").warnings == ()


def test_channels_that_cancel_each_other_are_named(tmp_path):
    rng = np.random.default_rng(0)
    voice, other = rng.normal(0, 0.1, (2, RATE))
    write(tmp_path / "swapped.wav", np.stack([voice, -0.95 * voice + 0.01 * other], axis=1))
    (warning,) = verify(tmp_path / "swapped.wav").warnings
    assert warning.startswith("its channels cancel each other")
    for name, channels in {
        "apart": [voice, other], "same": [voice, voice], "one": [voice, 0 * voice], "partly": [voice, -0.7 * voice],
        "silent": [0 * voice, 0 * voice], "mono": [voice],
    }.items():  # fmt: skip
        write(tmp_path / f"{name}.wav", np.stack(channels, axis=1))
        assert verify(tmp_path / f"{name}.wav").warnings == ()


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_samples_that_the_header_does_not_count_are_named(tmp_path, share):
    data = bytearray(write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 4 * RATE)).read_bytes())
    place = data.index(b"data") + 4
    counted = int(share * 8 * RATE)
    data[place : place + 4] = counted.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    info = verify(tmp_path / "a.wav")
    assert info.duration_s == 4 * share
    (warning,) = info.warnings
    assert f"its header counts {4 * share:.1f} s, but {4 - 4 * share:.1f} s more seem to follow" in warning


@pytest.mark.parametrize(
    "tail", [b"", b"\0" * 40_000, b"LIST\x04\0\0\0abcdid3 \x03\0\0\0abc\0", b"TAG" + b"\xff" * 125]
)
def test_what_else_follows_samples_is_no_sound(tmp_path, tail):
    path = write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2 * RATE + 1))
    path.write_bytes(path.read_bytes() + tail)
    assert verify(path).warnings == ()


@pytest.mark.parametrize("size", [0x80000000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFDB, 0x7FFFFFDB, 0x7FFFF000])
def test_sizes_that_say_unknown_are_no_truncation(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(8_000, 0.1, np.float32), 16_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert verify(path).samples == 8_000
    assert len(load_waveform(path)) == 8_000


def test_a_length_that_no_recording_has_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(8_000, 0.1, np.float32), 16_000)
    monkeypatch.setattr(soundfile.SoundFile, "frames", property(lambda _: (1 << 63) - 1))
    with pytest.raises(InputRefused, match=r"several streams one after the other; join them by `ffmpeg"):
        probe(path)
