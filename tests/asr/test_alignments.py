import torch

from speechunits.asr.alignments import Alignments


def test_one_hearing_with_an_alignment_is_enough():
    noted = Alignments()
    noted.note(("a", "b"), torch.tensor([True, False]))
    assert noted.never() == {"b"}
    noted.note(("a", "b"), torch.tensor([False, False]))
    assert noted.never() == {"b"}
    noted.note(("c", "b"), torch.tensor([False, True]))
    assert noted.never() == {"c"}


def test_only_the_first_hearings_are_kept():
    noted = Alignments()
    for _ in range(100):
        noted.note(("a",), torch.tensor([False]))
    noted.note(("a",), torch.tensor([True]))
    assert noted.never() == {"a"}
    assert len(noted._notes) < 10
