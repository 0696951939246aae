"""The comparison's table and bars, from saved rows alone."""

from speechunits.report.comparison import comparison_markdown, plot_comparison


def row(name, pnmi, *, ranking="hours", seed=0, stopped=None, speed=40.0):
    measures = {"without_silence": {"pnmi": pnmi, "pnmi_corrected": pnmi}, "layer": 2,
                "predictable_bits_a_frame": 3.14159}  # fmt: skip
    return {"name": f"objectives-{name}", "ranking": ranking, "seed": seed, "stopped": stopped, "bits": 1.5,
            "chance_bits": 7.0, "audio_hours": 2.0, "audio_hours_per_hour": speed, "memory_mb": 900,
            "measures": measures if pnmi is not None else None}  # fmt: skip


BASELINE = {"name": "MFCC k-means", "ranking": None, "stopped": None,
            "measures": {"without_silence": {"pnmi": 0.4, "pnmi_corrected": 0.39}}}  # fmt: skip


def results(*rows, minutes=None):
    return {"seeds": 2, "minutes": minutes, "fitted_hours": 1.0, "rows": [BASELINE, *rows]}


def test_the_best_comes_first_with_the_range_of_its_seeds():
    text = comparison_markdown(results(row("cpc", 0.35), row("swav", 0.42), row("swav", 0.46, seed=1)))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["swav", "MFCC k-means", "cpc"]
    assert "| 44.0 (42.0–46.0) |" in lines[2]
    assert "| 1.50 | 7.00 |" in lines[2]
    assert "ABX" not in text
    assert "Equal wall clock" not in text


def test_own_bounds_of_an_earlier_version_are_marked():
    old, new = row("cpc", 0.35) | {"learner": "cpc"}, row("swav", 0.42) | {"learner": "swav"}
    text = comparison_markdown(results(old, new))
    assert "| 1.50 † | 7.00 |" in text
    assert "| 1.50 | 7.00 |" in text
    assert "† Of an earlier version" in text
    assert "†" not in comparison_markdown(results(old | {"bound": 2}, new))


def test_what_each_training_cost_is_shown():
    text = comparison_markdown(results(row("cpc", 0.35) | {"processor_s": 90.0}, row("swav", 0.4)))
    assert "| minutes of a core |" in text
    assert "| 1.5 |" in text


def test_a_second_ranking_and_a_collapse_are_shown():
    rows = [row("cpc", 0.35), row("cpc", 0.36, ranking="minutes"), row("simclr", None, stopped="collapsed: why")]
    text = comparison_markdown(results(*rows, minutes=5))
    assert "Equal wall clock, 5 minutes of one core" in text
    assert "simclr: collapsed: why." in text
    assert text.count("MFCC k-means") == 2


def test_speeds_of_several_threads_are_by_the_clock():
    alone = comparison_markdown(results(row("cpc", 0.35)))
    assert "Speed: a core's own time, targets" in alone
    threads = {"provenance": {"config": {"pretrain": {"engine": {"threads": 0}}}}}
    rows = [row("cpc", 0.35), row("swav", 0.4, ranking="minutes") | threads]
    text = comparison_markdown(results(*rows, minutes=5))
    assert "Speed: the clock, or of one thread a core's own time, targets" in text
    assert "Equal wall clock, 5 minutes; 1 seed" in text


def test_bars_are_the_same_bytes_for_the_same_rows(tmp_path):
    found = results(row("cpc", 0.35), row("swav", 0.42), row("cpc", 0.3, ranking="minutes"), row("gru", None))
    for name in ("a.png", "b.png"):
        plot_comparison(found, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 5000
