"""The table of regrets says what was lost, where, and on average."""

from speechunits.report.regret import regret_markdown


def row(encoder, information, pnmi):
    return {"encoder": encoder, "corpus": "c", "clusters": 9, "scores": {"view_information": information},
            "pnmi": pnmi, "pnmi_corrected": pnmi}  # fmt: skip


def test_regret_is_the_best_less_the_chosen():
    rows = [row("one", [1.0, 3.0, 2.0], [0.40, 0.41, 0.45]), row("two", [3.0, 2.0, 1.0], [0.5, 0.4, 0.3])]
    lines = regret_markdown(rows).splitlines()
    assert lines[0] == "| encoder, corpus | best PNMI % (layer) | view information | middle | last |"
    assert lines[2] == "| one, c, K = 9 | 45.0 (2) | 4.0 (1) | 4.0 (1) | 0.0 (2) |"
    assert lines[3] == "| two, c, K = 9 | 50.0 (0) | 0.0 (0) | 10.0 (1) | 20.0 (2) |"
    assert lines[4] == "| mean |  | 2.0 | 7.0 | 10.0 |"
    assert lines[5:] == ["| worst |  | 4.0 | 10.0 | 20.0 |"]


def test_abx_has_a_table_of_its_own_where_it_was_measured():
    rows = [row("one", [1.0, 3.0, 2.0], [0.40, 0.41, 0.45]), row("two", [3.0, 2.0, 1.0], [0.5, 0.4, 0.3])]
    rows[0]["abx"] = [0.25, 0.2, 0.1]
    lines = regret_markdown(rows).split("\n\n")[1].splitlines()
    assert lines[0].startswith("| encoder, corpus | lowest ABX error % (layer) | view information |")
    assert lines[2] == "| one, c, K = 9 | 10.0 (2) | 10.0 (1) | 10.0 (1) | 0.0 (2) |"
    assert lines[3] == "| mean |  | 10.0 | 10.0 | 0.0 |"
