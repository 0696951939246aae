"""Recordings to listen to: spectrogram with phones and units, reference against hypothesis, examples of units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from speechunits.audio.load import load_waveform
from speechunits.audio.manifest import Recording
from speechunits.audio.resample import Samples
from speechunits.errors import InputRefused
from speechunits.report.page.marking import Span, error_rate, marked
from speechunits.report.page.media import flac_address, spectrogram_address
from speechunits.report.page.study import Occurrence, Study, UnitRow
from speechunits.units.sequence import intervals

PIXELS_A_SECOND = 480
LONGEST_S = 15.0
"""What a row shows of a recording; longer ones are cut, and only chosen where there is nothing shorter."""
LANE_BYTES = 8_000_000
"""Of the page's size, for listening rows; further rows are left out."""
CLIP_BYTES = 2_500_000
"""For examples of units."""
_CONTEXT_S = 0.25
_LETTER_PIXELS = 5.8


@dataclass(frozen=True, kw_only=True)
class Segment:
    """An interval of the picture: pixels, and the label where it has room."""

    x: float
    width: float
    label: str
    shown: bool
    hue: int
    """Colour of a unit, the same everywhere."""
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a recogniser wrote, held against the reference."""

    title: str
    hypothesis: str
    spans: list[Span]
    cer: float | None
    """None where the reference is empty."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recording."""

    recording: Recording
    width: int
    audio: str
    spectrogram: str
    phones: list[Segment]
    units: list[Segment]
    readings: list[Reading]
    cut: bool
    """Only the first ``LONGEST_S`` are shown."""

    @property
    def bytes(self) -> int:
        """Size in the page, nearly."""
        return len(self.audio) + len(self.spectrogram) + 150 * (len(self.phones) + len(self.units))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A unit in its surroundings."""

    phone: str
    occurrence: Occurrence
    audio: str


def unit_hue(unit: int) -> int:
    """Return a hue in degrees: units of neighbouring numbers lie far apart (golden angle)."""
    return round(unit * 137.508) % 360


def choose(
    recordings: Sequence[Recording], hypotheses: Mapping[str, str], count: int, *, spaced: bool = False
) -> list[Recording]:
    """Return recordings from the best recognised to the worst in even steps: no picking; by the manifest without any.

    Short ones are preferred to those of more than ``LONGEST_S``; ``spaced`` texts are phones.
    """
    short = [recording for recording in recordings if recording.duration_s <= LONGEST_S] or list(recordings)
    read = [recording for recording in short if recording.id in hypotheses and recording.text]
    if read:
        rates = {item.id: error_rate(item.text or "", hypotheses[item.id], spaced=spaced) or 0.0 for item in read}
        short = sorted(read, key=lambda item: (rates[item.id], item.id))
    count = min(count, len(short))
    if count < 2:
        return short[:count]
    return [short[round(index * (len(short) - 1) / (count - 1))] for index in range(count)]


def listening_rows(
    recordings: Iterable[Recording], study: Study, hypotheses: Sequence[tuple[str, Mapping[str, str]]], *,
    spaced: bool = False,
) -> list[Row]:  # fmt: skip
    """Return a row a recording until the size budget is spent; what cannot be read goes to ``study.refused``."""
    rows: list[Row] = []
    spent = 0
    for recording in recordings:
        try:
            samples = _samples(recording, 0.0, LONGEST_S)
        except InputRefused as error:
            study.refused.append((recording.id, str(error)))
            continue
        row = _row(recording, samples, study, hypotheses, spaced=spaced)
        spent += row.bytes
        if spent > LANE_BYTES:
            break
        rows.append(row)
    return rows


def _row(
    recording: Recording, samples: Samples, study: Study, hypotheses: Sequence[tuple[str, Mapping[str, str]]], *,
    spaced: bool,
) -> Row:  # fmt: skip
    duration_s = min(recording.duration_s, LONGEST_S)
    found = study.units.get(recording.id)
    spans = intervals(found, recording.duration_s) if found is not None else []
    reference = recording.text or ""
    return Row(
        recording=recording, width=max(1, round(duration_s * PIXELS_A_SECOND)), audio=flac_address(samples),
        spectrogram=spectrogram_address(samples), cut=recording.duration_s > LONGEST_S,
        phones=_segments(((phone.start_s, phone.end_s, phone.label, 0)
                          for phone in study.phones.get(recording.id, ())), duration_s),
        units=_segments(((start_s, end_s, str(unit), unit_hue(unit)) for unit, start_s, end_s in spans), duration_s),
        readings=[Reading(title=title, hypothesis=texts[recording.id],
                          spans=marked(reference, texts[recording.id], spaced=spaced),
                          cer=error_rate(reference, texts[recording.id], spaced=spaced))
                  for title, texts in hypotheses if recording.id in texts],
    )  # fmt: skip


def _segments(items: Iterable[tuple[float, float, str, int]], duration_s: float) -> list[Segment]:
    segments = []
    for start_s, end_s, label, hue in items:
        if start_s < duration_s:
            width = (min(end_s, duration_s) - start_s) * PIXELS_A_SECOND
            segments.append(Segment(x=round(start_s * PIXELS_A_SECOND, 1), width=round(width, 1), label=label,
                                    shown=_LETTER_PIXELS * len(label) + 2 <= width, hue=hue,
                                    start_s=start_s, end_s=end_s))  # fmt: skip
    return segments


def unit_clips(rows: Sequence[UnitRow], study: Study) -> list[tuple[UnitRow, list[Clip]]]:
    """Return each unit with examples to hear, one for each of its three most frequent phones, within the budget."""
    places = study.occurrences()
    by_id = {recording.id: recording for recording in study.recordings}
    spent, found = 0, []
    for row in rows:
        clips = []
        for phone, _ in row.phones[:3]:
            place = places.get((row.unit, phone))
            if place is None or spent > CLIP_BYTES:
                continue
            samples = _samples(by_id[place.id], max(0.0, place.start_s - _CONTEXT_S), place.end_s + _CONTEXT_S)
            clips.append(Clip(phone=phone, occurrence=place, audio=flac_address(samples)))
            spent += len(clips[-1].audio)
        found.append((row, clips))
    return found


def _samples(recording: Recording, start_s: float, end_s: float) -> Samples:
    first = recording.start_s or 0.0
    end_s = min(end_s, recording.duration_s)
    if recording.start_s is None and recording.end_s is None and start_s <= 0 and end_s >= recording.duration_s:
        return load_waveform(recording.audio)
    return load_waveform(recording.audio, start_s=first + start_s, end_s=first + end_s)
