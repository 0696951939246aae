import pytest

from speechunits.report.alignment import aligned_blocks
from tests.report.example import sentence


@pytest.mark.parametrize("width", [20, 60, 200])
def test_columns_are_times(width):
    blocks = aligned_blocks(sentence(), width)
    assert all(len(line) == width for block in blocks for line in block)
    _, phones, units = ("".join(lines) for lines in zip(*blocks, strict=True))
    column_s = 0.6 / len(phones)
    starts = {index for index, letter in enumerate(phones) if letter == "|"}
    assert starts == {round(phone.start_s / column_s) for phone in sentence().phones}
    # What begins at the same time stands in the same column.
    shared = {round(start_s / column_s) for start_s in (0.0, 0.1, 0.3)}
    assert shared <= starts & {index for index, letter in enumerate(units) if letter == "|"}
    assert phones.replace("|", " ").split() == ["SIL", "k", "a", "s", "a"]
    assert units.replace("|", " ").split() == ["7", "42", "3", "99", "3"]
