import json
import math
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from speechunits.asr import hypothesis
from speechunits.asr.arpa import write_arpa
from speechunits.asr.beam import Search
from speechunits.asr.decode import SpeechRecognizer, greedy_text, recognize, recording_posteriors
from speechunits.asr.hypothesis import best_labels, frame_posteriors, make_hypothesis
from speechunits.audio.corpus import Corpus
from speechunits.audio.manifest import Recording, write_manifest
from speechunits.audio.phones import Phone
from speechunits.errors import InputRefused, UsageError
from speechunits.evaluation.language import estimate_ngrams
from speechunits.evaluation.recognition import evaluate_recognizer
from speechunits.frames import canonical_windows, frame_count
from speechunits.units.bundle import write_bundle
from speechunits.units.extract import ahead
from tests.asr.tiny import recognizer, spoken


@pytest.fixture(scope="module")
def chatty():
    """A recogniser that was never trained but says something: its head is as large as a trained one's."""
    made = recognizer("untrained").eval()
    torch.nn.init.normal_(made.head.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    return made


@pytest.fixture
def bundle(chatty, tmp_path):
    path = tmp_path / "asr.safetensors"
    write_bundle(path, *chatty.export())
    return path


@pytest.fixture
def silent_bundle(tmp_path):
    made = recognizer("untrained")
    made.head.bias.data[0] = 100.0
    path = tmp_path / "silent.safetensors"
    write_bundle(path, *made.export())
    return path


def write(path, samples, kind=None, rate=16000):
    soundfile.write(path, samples, rate, kind)
    return path


@pytest.fixture
def waveforms():
    generator = np.random.default_rng(0)
    return [spoken(text, generator) for text in ("abc" * 40, "ab", "cab" * 5, "b")]


def test_alone_is_batched_and_chunked(chatty, waveforms):
    long = np.concatenate([waveforms[0]] * 6)
    assert len(canonical_windows(len(long))) > 1
    everything = [long, *waveforms]
    batched = frame_posteriors(chatty, everything, batch_s=1000.0)
    for waveform, heard in zip(everything, batched, strict=True):
        assert len(heard) == frame_count(len(waveform))
        (alone,) = frame_posteriors(chatty, [waveform], batch_s=1.0)
        np.testing.assert_array_equal(best_labels(alone), best_labels(heard))


def test_frames_come_from_the_windows_that_own_them(chatty, waveforms):
    long = np.concatenate([waveforms[0]] * 6)
    labels = best_labels(frame_posteriors(chatty, [long])[0])
    for window in canonical_windows(len(long)):
        piece = torch.from_numpy(long[window.start : window.stop])[None]
        with torch.no_grad():
            best = chatty.logits(piece, torch.tensor([piece.shape[1]]))[0].argmax(-1)[0]
        owned = best[window.skip : window.skip + window.count].numpy()
        assert (owned == labels[window.first : window.first + window.count]).mean() > 0.99


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_does_not_wait_for_the_end_of_a_long_recording(chatty, monkeypatch):
    heard, real = [], hypothesis._heard

    def slow(*arguments):
        heard.append(1)
        time.sleep(0.1)
        return real(*arguments)

    monkeypatch.setattr(hypothesis, "_heard", slow)
    long = np.zeros(600 * 16_000, np.float32)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(ahead(lambda waveform: frame_posteriors(chatty, [waveform], batch_s=1.0), [long], 1))
    timer.join()
    assert 0 < len(heard) < len(canonical_windows(len(long)))


def test_mode_is_left_as_it_was(chatty, waveforms):
    chatty.train()
    frame_posteriors(chatty, waveforms[1:2])
    assert chatty.training
    chatty.eval()


def test_hypothesis_has_times(chatty):
    labels = np.array([0, 1, 1, 0, 2])
    heard = make_hypothesis(chatty, "x", 400 + 4 * 320, labels)
    assert heard.text == "ab"
    assert [token.token for token in heard.tokens] == ["a", "b"]
    assert heard.tokens[0].start_s == pytest.approx((320 + 200) / 16000 - 0.01)
    assert heard.tokens[0].end_s == pytest.approx((640 + 200) / 16000 + 0.01)
    assert heard.tokens[1].end_s == heard.duration_s
    assert not heard.all_blank
    assert make_hypothesis(chatty, "x", 400, np.array([0])).all_blank


def test_recordings_come_with_their_posteriors_and_without_those_that_cannot_be_read(chatty, waveforms, tmp_path):
    rows = [
        Recording(id=str(i), audio=write(tmp_path / f"{i}.wav", waveform), duration_s=len(waveform) / 16000)
        for i, waveform in enumerate(waveforms)
    ]
    rows.append(replace(rows[0], id="part", start_s=0.5, end_s=2.0, duration_s=1.5))
    texts = {row.id: greedy_text(chatty, heard) for row, heard in recording_posteriors(chatty, rows)}
    speech = SpeechRecognizer(chatty)
    assert texts == {row.id: speech.recognize(row.audio, start_s=row.start_s, end_s=row.end_s).text for row in rows}
    assert any(texts.values())
    broken = Recording(id="broken", audio=write(tmp_path / "n.wav", np.full(16000, np.nan), "FLOAT"), duration_s=1.0)
    faults = []
    found = list(recording_posteriors(chatty, [*rows, broken], on_fault=lambda *fault: faults.append(fault)))
    assert {row.id for row, _ in found} == texts.keys()
    assert [name for name, _ in faults] == ["broken"]
    with pytest.raises(InputRefused):
        list(recording_posteriors(chatty, [*rows, broken]))


def test_bad_files_are_named_and_never_stop_the_rest(bundle, waveforms, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "good.wav", waveforms[0])
    (folder / "text.wav").write_text("not audio")
    (folder / "empty.wav").touch()
    write(folder / "short.wav", np.zeros(399, np.float32))
    write(folder / "z rate.flac", waveforms[2], rate=8000)
    report = recognize([folder, tmp_path / "missing.wav"], bundle)
    shown = capsys.readouterr()
    assert {name for name, _ in report.refused} == {"text", "empty", "missing"}
    assert report.done == ["good", "short", "z rate"]
    assert [line.split("\t")[0] for line in shown.out.splitlines()] == report.done
    assert all(name in shown.err for name in ("text", "empty", "missing", "short"))
    assert ("short", "shorter than one frame (25 ms): it has no text") in report.warnings


def test_all_blank_output_is_named(silent_bundle, waveforms, tmp_path):
    faults = []
    audio = write(tmp_path / "a.wav", waveforms[0])
    report = recognize([audio], silent_bundle, out=tmp_path / "out", on_fault=lambda *fault: faults.append(fault))
    assert report.done == ["a"]
    assert (tmp_path / "out" / "a.txt").read_text() == "\n"
    assert faults[0][0] == "a"
    assert "nothing but blanks" in faults[0][1]


def test_jsonl_folder_and_skipping(bundle, waveforms, tmp_path):
    audio = write(tmp_path / "a.wav", waveforms[0])
    out = tmp_path / "out"
    recognize([audio], bundle, form="jsonl", out=out)
    line = json.loads((out / "a.jsonl").read_text())
    assert line["id"] == "a"
    assert line["text"] == "".join(token["token"] for token in line["tokens"])
    assert line["duration_s"] == pytest.approx(len(waveforms[0]) / 16000)
    assert recognize([audio], bundle, form="jsonl", out=out).skipped == ["a"]
    assert recognize([audio], bundle, form="jsonl", out=out, overwrite=True).done == ["a"]
    with pytest.raises(UsageError, match="another model"):
        recognize([audio], bundle, form="text", out=out)
    with pytest.raises(UsageError, match="format must be one of"):
        recognize([audio], bundle, form="eaf")
    with pytest.raises(UsageError, match="a srt file holds one recording; name a folder"):
        recognize([audio], bundle, form="srt")


def test_what_another_model_wrote_is_not_taken_for_done(bundle, silent_bundle, waveforms, tmp_path):
    inputs = [write(tmp_path / f"{name}.wav", waveforms[0]) for name in "ab"]
    out = tmp_path / "out"
    recognize(inputs, bundle, out=out)
    recognize(inputs[:1], silent_bundle, out=out, overwrite=True)
    assert recognize(inputs[:1], silent_bundle, out=out).skipped == ["a"]
    with pytest.raises(UsageError, match="overwritten only in part; add --overwrite"):
        recognize(inputs, silent_bundle, out=out)
    assert recognize(inputs, silent_bundle, out=out, overwrite=True).done == ["a", "b"]
    assert recognize(inputs, silent_bundle, out=out).skipped == ["a", "b"]


@pytest.fixture
def lm(tmp_path):
    path = tmp_path / "lm.arpa"
    write_arpa(path, estimate_ngrams(["abcabc", "cabcab", "aabbcc"], order=3))
    return path


def test_confidence_is_the_mean_posterior_of_the_path(chatty):
    posteriors = np.log(np.array([[0.1, 0.7, 0.1, 0.1], [0.1, 0.9, 0, 0], [0.9, 0.1, 0, 0], [0.3, 0.1, 0.6, 0]]) + 1e-9)
    heard = make_hypothesis(chatty, "x", 1680, np.array([1, 1, 0, 2]), posteriors.astype(np.float32))
    assert [token.confidence for token in heard.tokens] == pytest.approx([0.8, 0.6], rel=1e-5)
    assert heard.words[0].confidence == pytest.approx(0.7, rel=1e-5)
    assert heard.confidence == pytest.approx(0.7, rel=1e-5)
    assert make_hypothesis(chatty, "x", 400, np.array([0]), posteriors[:1]).confidence is None


@pytest.mark.parametrize(
    ("waveform", "said"),
    [(np.full(800, np.nan), "finite"), (np.zeros((1, 800)), r"shape \(1, 800\)"), (np.zeros((800, 2)), r"\(800, 2\)")],
)
def test_samples_that_are_none_are_refused(bundle, waveform, said):
    with pytest.raises(InputRefused, match=said):
        SpeechRecognizer.load(bundle).recognize_waveform(waveform)


def test_a_language_model_changes_the_text_and_a_long_file_goes_through_it(bundle, lm, chatty, waveforms):
    long = np.concatenate([waveforms[0]] * 6)
    greedy = SpeechRecognizer.load(bundle).recognize_waveform(long)
    searched = SpeechRecognizer.load(bundle, lm=lm, search=Search(width=4, weight=2.0)).recognize_waveform(long)
    assert searched.text != greedy.text
    starts = [token.start_s for token in searched.tokens]
    assert starts == sorted(starts)
    assert searched.tokens[-1].end_s <= searched.duration_s == len(long) / 16000
    assert all(0 <= token.confidence <= 1 for token in searched.tokens)


@pytest.mark.parametrize("form", ["text", "jsonl", "ctm", "textgrid", "srt"])
def test_every_format_is_written(form, bundle, lm, waveforms, tmp_path):
    audio = write(tmp_path / "a.wav", waveforms[0])
    report = recognize([audio], bundle, form=form, lm=lm, out=tmp_path / "out")
    assert report.done == ["a"]
    suffix = {"text": "txt", "textgrid": "TextGrid"}.get(form, form)
    assert (tmp_path / "out" / f"a.{suffix}").stat().st_size > 0
    with pytest.raises(UsageError, match="another model, format or option"):
        recognize([audio], bundle, form=form, out=tmp_path / "out")


def test_a_language_model_over_another_alphabet_is_refused(bundle, tmp_path, waveforms):
    write_arpa(tmp_path / "other.arpa", estimate_ngrams(["да нет"], order=2))
    with pytest.raises(UsageError, match="lacks 'a', 'b', 'c'; only the model has the space, 'а', 'д'"):
        recognize([write(tmp_path / "a.wav", waveforms[0])], bundle, lm=tmp_path / "other.arpa")


def test_a_bundle_whose_head_is_of_another_tokeniser_is_refused(chatty, tmp_path):
    tensors, header = chatty.export()
    header = {**header, "tokenizer": {"symbols": ["", *"abcd"]}}
    write_bundle(tmp_path / "other.safetensors", tensors, header)
    with pytest.raises(InputRefused, match="has 4, and its tokeniser 5 symbols"):
        SpeechRecognizer.load(tmp_path / "other.safetensors")


def test_manifest_segments(bundle, chatty, waveforms, tmp_path, capsys):
    audio = write(tmp_path / "a.wav", waveforms[0])
    row = Recording(id="segment", audio=audio, duration_s=1.0, start_s=1.0, end_s=2.0)
    write_manifest(tmp_path / "m.tsv", [row])
    recognize([tmp_path / "m.tsv"], bundle)
    text = SpeechRecognizer(chatty).recognize(audio, start_s=1.0, end_s=2.0).text
    assert capsys.readouterr().out == f"segment\t{text}\n"


def corpus_of(rows, phones=()):
    return Corpus(manifest="m.tsv", recordings=tuple(replace(row, split="dev") for row in rows), phones=dict(phones))


def test_error_rates_of_a_bundle(bundle, silent_bundle, waveforms, tmp_path, capsys):
    rows = [
        Recording(id=text, audio=write(tmp_path / f"{text}.wav", waveforms[1]), duration_s=1.0, text=text)
        for text in ("abc a", "b")
    ]
    untold = replace(rows[0], id="untold", text=None)
    rates = evaluate_recognizer(silent_bundle, corpus_of([*rows, untold]), "dev")
    assert (rates.cer, rates.wer, rates.recordings, rates.all_blank) == (1.0, 1.0, 2, True)
    assert rates.unknown == {" ": 1}
    # One that is damaged inside is named, and the rest is measured.
    write(tmp_path / "n.wav", np.full(16000, np.nan), "FLOAT")
    corpus = corpus_of([*rows, replace(rows[0], id="broken", audio=tmp_path / "n.wav")])
    found = evaluate_recognizer(bundle, corpus, "dev")
    assert math.isfinite(found.cer)
    assert (found.recordings, corpus.refused) == (2, ["broken"])
    assert "refused: broken" in capsys.readouterr().err
    # What it cannot write would only look like errors.
    accented = corpus_of([replace(rows[0], text="a\u0301ba\u0301")])
    assert evaluate_recognizer(bundle, accented, "dev").unknown == {"\u00e1": 2}
    with pytest.raises(UsageError, match=r"phones are for a recogniser of phones, but .* leave out --phones"):
        evaluate_recognizer(bundle, corpus_of(rows, {"b": [Phone(0.0, 1.0, "b")]}), "dev")
    with pytest.raises(UsageError, match="none of the 1 recordings of dev"):
        evaluate_recognizer(bundle, corpus_of([untold]), "dev")
    with pytest.raises(InputRefused, match="no recording of split 'dev' can be read"):
        evaluate_recognizer(bundle, corpus_of([replace(rows[0], audio=tmp_path / "n.wav")]), "dev")


def test_error_rates_over_phones(chatty, waveforms, tmp_path):
    tensors, header = chatty.export()
    header = {**header, "tokenizer": {**header["tokenizer"], "spaced": True}}
    write_bundle(tmp_path / "phones.safetensors", tensors, header)
    row = Recording(id="x", audio=write(tmp_path / "x.wav", waveforms[2]), duration_s=2.0, text="an orthography")
    said = SpeechRecognizer.load(tmp_path / "phones.safetensors").recognize(row.audio).text.split()
    assert len(said) > 1
    spoken = [Phone(0.1 * number, 0.1 * number + 0.1, label) for number, label in enumerate(said)]
    rates = evaluate_recognizer(tmp_path / "phones.safetensors", corpus_of([row], {"x": spoken}), "dev")
    assert (rates.cer, rates.wer) == (None, 0.0)
    with pytest.raises(UsageError, match="--phones"):
        evaluate_recognizer(tmp_path / "phones.safetensors", corpus_of([row]), "dev")


def test_damaged_bundle_is_refused(bundle, tmp_path):
    bundle.write_bytes(bundle.read_bytes()[:-9])
    with pytest.raises(InputRefused):
        SpeechRecognizer.load(bundle)
