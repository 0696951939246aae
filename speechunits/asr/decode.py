"""What a user wants recognised: files, folders and manifests; a bad one is named and never stops the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from speechunits.asr.beam import Search
from speechunits.asr.decoder import Decoder
from speechunits.asr.formats import format_named
from speechunits.asr.greedy import collapse
from speechunits.asr.hypothesis import (
    Hypothesis,
    Posteriors,
    Precision,
    best_labels,
    frame_posteriors,
    make_hypothesis,
)
from speechunits.asr.recognizer import Recognizer, recognizer_from_bundle
from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording
from speechunits.audio.resample import Samples, mono, resample
from speechunits.audio.written import RECOGNIZED
from speechunits.errors import InputRefused, UsageError
from speechunits.frames import RECEPTIVE_FIELD, SAMPLE_RATE_HZ
from speechunits.run import content_key, file_hash
from speechunits.units.bundle import read_bundle, refused_header
from speechunits.units.claim import Claim
from speechunits.units.extract import OnFault
from speechunits.units.inputs import Input
from speechunits.units.writing import TranscribeReport, Written, write_each

_SHORT = f"shorter than one frame ({RECEPTIVE_FIELD / SAMPLE_RATE_HZ * 1000:g} ms): it has no text"
_BLANK = "nothing but blanks was recognised; is it silent? If all are like this, fine-tune longer or on more labels"
_LOADED_S = 600.0
"""Seconds of audio in memory at a time."""


class SpeechRecognizer:
    """A recogniser's bundle, ready to use: ``SpeechRecognizer.load(path).recognize(recording)``."""

    def __init__(
        self, recognizer: Recognizer, *, precision: Precision = "fp32", decoder: Decoder | None = None
    ) -> None:
        self.recognizer = recognizer
        self.precision = precision
        self.decoder = decoder or Decoder()

    @classmethod
    def load(
        cls, path: Path, *, precision: Precision = "fp32", lm: Path | None = None, search: Search | None = None
    ) -> SpeechRecognizer:
        """Read a bundle, and with it an ARPA language model; ``search`` without one searches prefixes all the same.

        Raises
        ------
        ModelRefused
            If a file is missing or damaged, or the bundle is no recogniser.
        UsageError
            If the language model is over another alphabet.
        """
        tensors, header = read_bundle(path, kind="recognizer")
        with refused_header(str(path)):
            recognizer = recognizer_from_bundle(tensors, header)
        return cls(recognizer, precision=precision, decoder=Decoder.load(recognizer.tokenizer, lm, search))

    def recognize(self, path: str | Path, *, start_s: float | None = None, end_s: float | None = None) -> Hypothesis:
        """Recognise a recording, or a segment of it. Raises InputRefused if it cannot be read."""
        path = Path(path)
        return self.recognize_waveform(load_waveform(path, start_s=start_s, end_s=end_s), name=path.stem)

    def recognize_waveform(self, waveform: Samples, rate_hz: float = SAMPLE_RATE_HZ, *, name: str = "") -> Hypothesis:
        """Recognise ``(T,)`` mono samples of rate ``rate_hz``.

        Raises
        ------
        InputRefused
            If the samples are not one-dimensional, or not finite, or the rate is none.
        """
        samples = resample(mono(waveform), rate_hz)
        # Two of the longest windows at a time: a long file must not take the memory of all its windows at once.
        heard = frame_posteriors(self.recognizer, [samples], batch_s=40.0, precision=self.precision)[0]
        return make_hypothesis(self.recognizer, name, len(samples), self.decoder.labels(heard), heard)


def greedy_text(recognizer: Recognizer, posteriors: Posteriors) -> str:
    """Return the greedy text of ``(S, V)`` ln posteriors."""
    return recognizer.tokenizer.decode(collapse(best_labels(posteriors).tolist()))


def recording_posteriors(
    recognizer: Recognizer, recordings: Sequence[Recording], *, batch_s: float = 160.0, precision: Precision = "fp32",
    on_fault: OnFault | None = None,
) -> Iterator[tuple[Recording, Posteriors]]:  # fmt: skip
    """Yield whole recordings with their ``(S, V)`` ln posteriors, the shortest first, ten minutes of audio at a time.

    A batch holds at most ``batch_s`` padded seconds. A recording that cannot be read is handed to ``on_fault`` with the
    reason, and left out; without it InputRefused is raised.
    """
    # Neighbours in length share a padded length, so that batches are full.
    for group in _groups(sorted(recordings, key=lambda row: row.duration_s)):
        loaded = []
        for row in group:
            try:
                loaded.append((row, load_waveform(row.audio, start_s=row.start_s, end_s=row.end_s)))
            except InputRefused as error:
                if on_fault is None:
                    raise
                on_fault(row.id, str(error))
        heard = frame_posteriors(recognizer, [waveform for _, waveform in loaded], batch_s=batch_s, precision=precision)
        yield from zip((row for row, _ in loaded), heard, strict=True)


def recognize(
    inputs: Sequence[Path],
    model: SpeechRecognizer | Path,
    *,
    form: str = "text",
    lm: Path | None = None,
    search: Search | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    on_fault: OnFault | None = None,
    stream: TextIO | None = None,
) -> TranscribeReport:
    """Write the text of every recording among ``inputs``: audio files, folders (searched), manifests (``.tsv``).

    Parameters
    ----------
    form
        One of ``speechunits.asr.formats.FORMATS``.
    lm, search
        ARPA language model, and how to search; without either, greedy. Not with a recogniser that is loaded already.
    out
        Folder for one file a recording, written atomically; those already there are skipped unless ``overwrite``.
        Without it, one line a recording goes to ``stream`` (standard output): ``name<TAB>text``, JSON or CTM.
    on_fault
        Called with name and reason at each refusal and warning; by default they are printed to standard error.

    Raises
    ------
    UsageError
        If the format is unknown, a manifest has faults, the language model is over another alphabet, or ``out`` holds
        texts that this model and these options did not make.
    ModelRefused
        If the bundle or the language model cannot be used.
    """
    chosen = format_named(form)
    if out is None and chosen.alone:
        raise UsageError(f"a {form} file holds one recording; name a folder for them with -o")
    recognizer = SpeechRecognizer.load(model, lm=lm, search=search) if isinstance(model, Path) else model
    claim = None
    if out is not None and isinstance(model, Path):
        # What was made without any of these options keeps its key.
        options = [] if lm is None and search is None else [lm and file_hash(lm), search and asdict(search)]
        claim = Claim(record=RECOGNIZED, key=content_key(file_hash(model), form, *options))

    def compute(item: Input) -> Written:
        waveform = load_waveform(item.audio, start_s=item.start_s, end_s=item.end_s)
        heard = recognizer.recognize_waveform(waveform, name=item.name)
        short = _SHORT if len(waveform) < RECEPTIVE_FIELD else _BLANK
        return Written(chosen.write(heard), short if heard.all_blank else None, len(waveform) / SAMPLE_RATE_HZ)

    return write_each(
        inputs, compute, suffix=chosen.suffix, named=form == "text", out=out, overwrite=overwrite, on_fault=on_fault,
        stream=stream, claim=claim,
    )  # fmt: skip


def _groups(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Part recordings into groups that are in memory together."""
    group: list[Recording] = []
    held_s = 0.0
    for row in recordings:
        if group and held_s + row.duration_s > _LOADED_S:
            yield group
            group, held_s = [], 0.0
        group.append(row)
        held_s += row.duration_s
    if group:
        yield group
