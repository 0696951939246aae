"""Cards of corpora, on look-alike trees."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechunits.audio.card import absent_message, card_manifest, read_card
from speechunits.audio.manifest import Recording, write_manifest
from speechunits.errors import UsageError

CARDS = Path(__file__).parents[2] / "data_manifests"


def card(name):
    return read_card(CARDS / f"{name}.yaml")


def sound(path, seconds=0.5, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(seconds * rate)), rate)


def libri(folder, speaker, chapter, texts):
    for index, text in enumerate(texts):
        name = f"{speaker}-{chapter}-{index:04d}"
        sound(folder / speaker / chapter / f"{name}.flac")
        with (folder / speaker / chapter / f"{speaker}-{chapter}.trans.txt").open("a") as file:
            file.write(f"{name} {text}\n")


@pytest.mark.parametrize("path", sorted(CARDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_card_is_complete(path):
    known = read_card(path)
    assert known.name == path.stem
    assert known.licence
    assert known.citation
    assert known.get.strip() in absent_message(known)


def test_librispeech(tmp_path):
    libri(tmp_path / "train-clean-100", "19", "198", ["NORTHANGER ABBEY", "IT'S"])
    libri(tmp_path / "dev-clean", "84", "121", ["GO"])
    found = card_manifest(card("librispeech"), tmp_path)
    assert [(r.id, r.speaker, r.split, r.text, r.duration_s) for r in found] == [
        ("19-198-0000", "19", "train", "northanger abbey", 0.5),
        ("19-198-0001", "19", "train", "it's", 0.5),
        ("84-121-0000", "84", "dev", "go", 0.5),
    ]


def test_librispeech_faults_are_all_named(tmp_path):
    libri(tmp_path / "dev-clean", "84", "121", ["ONE", "TWO"])
    (tmp_path / "dev-clean" / "84" / "121" / "84-121-0000.flac").unlink()
    sound(tmp_path / "dev-clean" / "84" / "121" / "84-121-0002.flac")
    with pytest.raises(UsageError, match=r"(?s)2 fault.*0002.*no line.*0000.*missing"):
        card_manifest(card("librispeech"), tmp_path)


def test_libri_light_lists_are_nested(tmp_path):
    for index in range(6):
        libri(tmp_path / "1h" / str(index) / "clean", f"{index}1", "5", ["A"])
    libri(tmp_path / "9h" / "other", "99", "7", ["B"])
    known = card("librilight")
    ten_minutes, hour, ten_hours = (
        {r.id for r in card_manifest(known, tmp_path, part=name)} for name in ("10min", "1h", "10h")
    )
    assert ten_minutes == {"01-5-0000"}
    assert ten_minutes < hour < ten_hours
    assert len(ten_hours) == 7
    assert {r.split for r in card_manifest(known, tmp_path)} == {"train"}
    with pytest.raises(UsageError, match="must be one of 10min, 1h, 10h, but is '2h'"):
        card_manifest(known, tmp_path, part="2h")


def test_common_voice(tmp_path):
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes"
    for split, names in {"train": ["a.mp3", "b.mp3"], "dev": ["c.mp3"], "test": ["d"]}.items():
        rows = [f'{"f" * 128}\t{name}\tx\t"E\u0301" {name}\t2' for name in names]
        (tmp_path / f"{split}.tsv").write_text("\n".join([header, *rows]) + "\n")
        for name in names:
            sound(tmp_path / "clips" / f"{name.removesuffix('.mp3')}.mp3", 1.0, 32_000)
    found = card_manifest(card("commonvoice"), tmp_path)
    assert [(r.id, r.split) for r in found] == [("a", "train"), ("b", "train"), ("c", "dev"), ("d", "test")]
    assert found[0].text == '"É" a.mp3'
    assert found[0].speaker == "f" * 16
    assert found[0].duration_s == pytest.approx(1.0, abs=0.1)


def test_our_own_layout(tmp_path):
    rows = [Recording(id=name, audio=tmp_path / f"{name}.wav", duration_s=1.0, split=name) for name in ("train", "dev")]
    write_manifest(tmp_path / "manifest.tsv", rows)
    assert card_manifest(card("mboshi"), tmp_path) == rows


def test_absent_corpora_say_what_to_do(tmp_path):
    for root in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match=r"(?s)openslr\.org.*unpack"):
            card_manifest(card("librispeech"), root)


def test_faulty_card(tmp_path):
    (tmp_path / "x.yaml").write_text("name: x\nlayout: tape\nowner: me\n")
    with pytest.raises(UsageError, match=r"(?s)layout: must be one of.*owner: unknown key"):
        read_card(tmp_path / "x.yaml")
    with pytest.raises(UsageError, match=r"cannot read the card .*data_manifests/ holds those of the project"):
        read_card(tmp_path / "none.yaml")
    (tmp_path / "y.yaml").write_text("name: x\nname: y\n")
    with pytest.raises(UsageError, match=r"the card .* is not valid YAML: the key 'name' is there twice"):
        read_card(tmp_path / "y.yaml")


def test_a_card_of_norwegian(tmp_path):
    text = (CARDS / "librispeech.yaml").read_text()
    assert "languages: [en]" in text
    (tmp_path / "norwegian.yaml").write_text(text.replace("languages: [en]", "languages: [no]"))
    assert read_card(tmp_path / "norwegian.yaml").languages == ("no",)
