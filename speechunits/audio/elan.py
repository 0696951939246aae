"""ELAN's annotation files (EAF 2.x and 3.0): tiers whose annotations have times, or refer to others that do.

Source: EAF annotation format schema 3.0, The Language Archive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from speechunits.audio.annotation import Annotation, AnnotationFile, refused

_ALIGNED = "ALIGNABLE_ANNOTATION"
_MOST_STEPS = 64
"""Tiers on tiers on tiers: references that go deeper go round in circles."""


def read_eaf(path: Path) -> AnnotationFile:
    """Read the tiers of an ``.eaf``, each annotation with the time it has or inherits.

    Time slots without a value lie evenly between their neighbours, as ELAN shows them.

    Raises
    ------
    InputRefused
        If the file cannot be read, is no EAF, or refers to times or annotations that it does not hold.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror}; check the path") from error
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise refused(path, "holds XML entities, which no ELAN file does; export it again from ELAN")
    try:
        root = ET.fromstring(data)  # noqa: S314 - what makes XML dangerous is refused above
    except ET.ParseError as error:
        raise refused(path, f"this is no XML ({error}): truncated or damaged; export it again from ELAN") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise refused(path, f"an ELAN file must be an ANNOTATION_DOCUMENT, but is {root.tag} instead")
    try:
        times, tiers = _times(root), _tiers(root)
        spans = _Spans([annotations for _, annotations in tiers], times)
        named = {
            name: sorted(
                Annotation(*spans.of(element), element.findtext("ANNOTATION_VALUE") or "") for element in annotations
            )
            for name, annotations in tiers
        }
    except (KeyError, ValueError) as error:
        raise refused(
            path, f"its annotations refer to what is not there ({error}); export it again from ELAN"
        ) from error
    header = root.find("HEADER")
    properties = [] if header is None else header.findall("PROPERTY")
    counts = Counter(name for name, _ in tiers)
    return AnnotationFile(
        tiers=named, properties={element.get("NAME", ""): element.text or "" for element in properties},
        repeated=frozenset(name for name, count in counts.items() if count > 1), origins_s=_origins(header),
    )  # fmt: skip


def _origins(header: ET.Element | None) -> dict[str, float]:
    """Return the TIME_ORIGIN of recordings in seconds, by their file names."""
    found = {}
    for media in [] if header is None else header.findall("MEDIA_DESCRIPTOR"):
        milliseconds = media.get("TIME_ORIGIN", "0")
        if milliseconds.removeprefix("-").isdecimal():
            name = unquote(media.get("MEDIA_URL", "")).replace("\\", "/").rpartition("/")[2]
            found[name] = int(milliseconds) / 1000
    return found


def _tiers(root: ET.Element) -> list[tuple[str, list[ET.Element]]]:
    return [
        (tier.attrib["TIER_ID"], [child for annotation in tier.findall("ANNOTATION") for child in annotation])
        for tier in root.findall("TIER")
    ]


def _times(root: ET.Element) -> dict[str, float]:
    """Return the seconds of every time slot."""
    order = root.find("TIME_ORDER")
    slots = [] if order is None else order.findall("TIME_SLOT")
    times: dict[str, float] = {}
    waiting: list[str] = []
    last_s = 0.0
    for slot in slots:
        if "TIME_VALUE" not in slot.attrib:
            waiting.append(slot.attrib["TIME_SLOT_ID"])
            continue
        now_s = int(slot.attrib["TIME_VALUE"]) / 1000
        for index, name in enumerate(waiting, start=1):
            times[name] = last_s + (now_s - last_s) * index / (len(waiting) + 1)
        times[slot.attrib["TIME_SLOT_ID"]] = last_s = now_s
        waiting = []
    times.update(dict.fromkeys(waiting, last_s))
    return times


class _Spans:
    """The times of annotations: their own, or what they have of those they refer to.

    Annotations of one tier that refer to the same other one (a symbolic subdivision, such as the words of a sentence)
    share its time evenly, in the order of their PREVIOUS_ANNOTATION, as ELAN shows them.
    """

    def __init__(self, tiers: Sequence[Sequence[ET.Element]], times: Mapping[str, float]) -> None:
        self._times = times
        self._by_id = {element.attrib["ANNOTATION_ID"]: element for tier in tiers for element in tier}
        self._shares: dict[str, tuple[int, int]] = {}
        """Place of an annotation among those that share, and their number."""
        for tier in tiers:
            groups: dict[str, list[ET.Element]] = {}
            for element in tier:
                if element.tag != _ALIGNED:
                    groups.setdefault(element.attrib["ANNOTATION_REF"], []).append(element)
            for group in groups.values():
                for place, name in enumerate(_in_order(group)):
                    self._shares[name] = (place, len(group))

    def of(self, element: ET.Element, depth: int = 0) -> tuple[float, float]:
        """Return start and end in seconds."""
        if element.tag == _ALIGNED:
            return self._times[element.attrib["TIME_SLOT_REF1"]], self._times[element.attrib["TIME_SLOT_REF2"]]
        if depth > _MOST_STEPS:
            raise ValueError("references in a circle")
        start_s, end_s = self.of(self._by_id[element.attrib["ANNOTATION_REF"]], depth + 1)
        place, count = self._shares[element.attrib["ANNOTATION_ID"]]
        length_s = end_s - start_s
        return start_s + length_s * place / count, start_s + length_s * (place + 1) / count


def _in_order(group: Sequence[ET.Element]) -> list[str]:
    """Return the ids of annotations, each behind the one that it names as the one before."""
    after: dict[str | None, list[str]] = {}
    for element in group:
        after.setdefault(element.get("PREVIOUS_ANNOTATION"), []).append(element.attrib["ANNOTATION_ID"])
    ordered: list[str] = []
    waiting = after.get(None, [])[::-1]
    while waiting:
        ordered.append(waiting.pop())
        waiting += after.get(ordered[-1], [])[::-1]
    if len(ordered) != len(group):
        raise ValueError("an annotation before another is not of the same one")
    return ordered
