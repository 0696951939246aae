from pathlib import Path

import pytest

from speechunits.audio.manifest import Recording
from speechunits.audio.phones import Phone
from speechunits.errors import UsageError
from speechunits.evaluation.abx.items import (
    HEADER,
    Item,
    check_items,
    item_frames,
    items_from_phones,
    read_items,
    subsample,
    write_items,
)
from speechunits.frames import frame_center_s

ITEM = Item("take", 0.5, 0.7, "a", "k", "t", "ana")


def recording(name="take", duration_s=1.0, speaker="ana"):
    return Recording(id=name, audio=Path(f"{name}.wav"), duration_s=duration_s, speaker=speaker)


def test_items_are_read_as_written(tmp_path):
    items = [ITEM, ITEM._replace(recording="other", onset_s=0.0, phone="ŋɡ")]
    write_items(tmp_path / "x.item", items)
    assert read_items(tmp_path / "x.item") == items
    with pytest.raises(UsageError, match="white space"):
        write_items(tmp_path / "y.item", [ITEM._replace(speaker="ana maria")])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER], "at least one item"),
        ([], "at least one item"),
        ([HEADER, "take 0.5 0.7 a k t"], "line 2: must have 7 columns, but has 6"),
        ([HEADER, "take 0.7 0.5 a k t ana"], "seconds in order"),
        ([HEADER, "take 0.5 x a k t ana"], "seconds in order"),
        (["take 0.5 0.7 a k t ana"], "line 1 must be the header"),
    ],
)
def test_faulty_files_are_refused(tmp_path, lines, message):
    path = tmp_path / "x.item"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=message):
        read_items(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the item file"):
        read_items(tmp_path / "none.item")


def test_items_must_fit_the_recordings(capsys):
    assert check_items([ITEM, ITEM._replace(recording="other")], {"take": recording()}) == [ITEM]
    assert capsys.readouterr().err == "1 of 2 items are left out: they are of files that the split has not\n"
    with pytest.raises(UsageError, match="the items name 'take', the manifest 'other'"):
        check_items([ITEM], {"other": recording("other")})
    with pytest.raises(UsageError, match="1 of 2 items lie beyond the end"):
        check_items([ITEM, ITEM._replace(offset_s=50.0)], {"take": recording()})


PHONES = [Phone(0, 0.1, "SIL"), Phone(0.1, 0.2, "k"), Phone(0.2, 0.3, "a"), Phone(0.3, 0.4, "t"), Phone(0.5, 0.6, "a"),
          Phone(0.6, 0.7, "UNK")]  # fmt: skip


def test_triphones_need_spoken_neighbours_and_phonemes_do_not():
    assert items_from_phones([recording()], {"take": PHONES}, "triphone") == [
        Item("take", 0.1, 0.4, "a", "k", "t", "ana")
    ]
    phonemes = items_from_phones([recording()], {"take": PHONES}, "phoneme")
    assert [(item.onset_s, *item[3:6]) for item in phonemes] == [
        (0.1, "k", "SIL", "a"), (0.2, "a", "k", "t"), (0.3, "t", "a", "#"), (0.5, "a", "#", "UNK"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="none of the 1 recordings"):
        items_from_phones([recording("other")], {"take": PHONES}, "phoneme")
    with pytest.raises(UsageError, match="column `speaker`"):
        items_from_phones([recording(speaker=None)], {"take": PHONES}, "phoneme")


def test_frames_of_an_item_have_their_centres_within_it():
    for onset, offset in ((0.0, 0.0125), (0.0125, 0.0325), (0.013, 0.2), (0.31, 0.62), (0.5, 5.0)):
        item = ITEM._replace(onset_s=onset, offset_s=offset)
        inside = [frame for frame in range(40) if onset - 1e-9 <= frame_center_s(frame) <= offset + 1e-9]
        first, after = item_frames(item, 40)
        assert list(range(first, after)) == inside
        if offset < frame_center_s(39):
            assert item_frames(item, 40, drop_last=True) == (first, after - 1)


def test_a_subsample_is_seeded_and_bounded():
    items = [ITEM._replace(onset_s=place / 10, previous="kg"[place % 2]) for place in range(20)] + [
        ITEM._replace(phone="e")
    ]
    few = subsample(items, 3, 0, by_context=False)
    assert few == subsample(items, 3, 0, by_context=False) != subsample(items, 3, 1, by_context=False)
    assert len(few) == 4
    assert few[-1].phone == "e"
    assert len(subsample(items, 3, 0, by_context=True)) == 7
    assert subsample(items, None, 0, by_context=True) == items
