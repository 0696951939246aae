"""ELAN's annotation files (EAF 2.x and 3.0): tiers whose annotations have times, or refer to others that do.

Source: EAF annotation format schema 3.0, The Language Archive.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from speechunits.audio.annotation import Annotation, AnnotationFile, refused

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
        by_id = {a.attrib["ANNOTATION_ID"]: a for annotations in tiers.values() for a in annotations}
        named = {
            name: sorted(_annotation(element, by_id, times) for element in annotations)
            for name, annotations in tiers.items()
        }
    except (KeyError, ValueError) as error:
        raise refused(
            path, f"its annotations refer to what is not there ({error}); export it again from ELAN"
        ) from error
    header = root.find("HEADER")
    properties = [] if header is None else header.findall("PROPERTY")
    return AnnotationFile(
        tiers=named, properties={element.get("NAME", ""): element.text or "" for element in properties}
    )


def _tiers(root: ET.Element) -> dict[str, list[ET.Element]]:
    return {
        tier.attrib["TIER_ID"]: [child for annotation in tier.findall("ANNOTATION") for child in annotation]
        for tier in root.findall("TIER")
    }


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


def _annotation(element: ET.Element, by_id: dict[str, ET.Element], times: dict[str, float]) -> Annotation:
    text = element.findtext("ANNOTATION_VALUE") or ""
    aligned = element
    for _ in range(_MOST_STEPS):
        if aligned.tag == "ALIGNABLE_ANNOTATION":
            return Annotation(times[aligned.attrib["TIME_SLOT_REF1"]], times[aligned.attrib["TIME_SLOT_REF2"]], text)
        aligned = by_id[aligned.attrib["ANNOTATION_REF"]]
    raise ValueError("references in a circle")
