"""The page as text: one file, everything escaped, a structure that can be read aloud; runs that hold only a part."""

import json
import os
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
import yaml

from speechunits.cli import main
from speechunits.errors import UsageError
from speechunits.report.page.write import MAX_BYTES, write_page
from speechunits.units.bundle import write_bundle
from tests.report.page.example import EVIL, PHONES, ROWS, make_page, make_run, save, write_rows

VOID = {"meta", "link", "input", "img", "br"}


class Reader(HTMLParser):
    """Collects elements with their attributes and the text inside them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.inside, self.unclosed = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.unclosed.append((tag, list(self.open)))

    def handle_data(self, data):
        for tag in set(self.open):
            self.inside[tag] = self.inside.get(tag, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    page, text = make_page(tmp_path_factory.mktemp("page"))
    return page, text, Reader(text)


def test_nothing_breaks_out(made):
    _, text, read = made
    assert [script.get("type") for script in read.all("script")] == ["application/json", None]
    assert not read.all("img")
    assert not [key for _, attributes in read.elements for key in attributes if key.startswith("on")]
    assert text.count("</script>") == 2
    # As text and in attributes it is all there.
    assert EVIL in read.inside["h1"]
    assert f"{EVIL} text odd" in read.inside["dd"]
    assert any(EVIL in body.get("data-search", "") for body in read.all("tbody"))
    for phone in PHONES:
        assert phone in read.inside["text"], "phones name the rows of the heat map and the intervals"


def test_the_numbers_come_back_from_the_page(made):
    _, text, _ = made
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert "<" not in data
    numbers = json.loads(data)
    assert EVIL in numbers["quality"]
    assert len(numbers["recordings"]) == ROWS
    assert all(EVIL in row["reference"] and row["readings"][0]["cer"] > 0 for row in numbers["recordings"])


def test_one_file_and_no_network(made):
    page, text, read = made
    assert page.bytes == page.path.stat().st_size < MAX_BYTES
    for tag, attributes in read.elements:
        for key in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            value = attributes.get(key) or "#"
            assert value.startswith(("data:", "#")), (tag, key, value[:80])
    assert not re.search(r"@import|url\((?!#)", text)
    policy = next(meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


def test_it_can_be_read_aloud(made):
    _, _, read = made
    assert not read.unclosed
    assert not read.open
    ids = Counter(attributes["id"] for _, attributes in read.elements if attributes.get("id"))
    assert not [name for name, count in ids.items() if count > 1]
    assert all(link["href"][1:] in ids for link in read.all("a") if link.get("href"))
    tables = len(read.all("table"))
    assert tables >= 7
    assert len(read.all("caption")) == tables
    assert all(head.get("scope") in {"col", "row"} for head in read.all("th"))
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in read.all("svg"))
    assert all(audio.get("controls", "") is None for audio in read.all("audio"))
    described = {label["for"] for label in read.all("label")}
    assert all(field["id"] in described for field in read.all("input"))
    assert read.all("html")[0]["lang"] == "en"
    assert len(read.all("main")) == len(read.all("h1")) == 1
    assert any(link.get("class") == "skip" for link in read.all("a"))


def test_everything_is_shown(made):
    page, text, read = made
    sections = {attributes.get("id") for attributes in read.all("section")}
    assert sections == {"factor", "listening", "letters", "phones", "confused", "durations", "learning", "bits",
                        "measurements"}  # fmt: skip
    assert page.absent == ()
    assert page.recordings == ROWS
    assert "saves a factor of" in read.inside["p"]
    assert 'title="missing">e</del>' in text
    assert len([audio for audio in read.all("audio") if audio["src"].startswith("data:audio/flac;base64,")]) > ROWS
    assert "0.125" in read.inside["td"]


def test_other_conditions_and_phones_are_named(tmp_path):
    run = make_run(tmp_path)
    scores = json.loads((run / "results.json").read_text())["scores"]
    more = [score | {"compute": "equal"} for score in scores] + [score | {"lm": "own"} for score in scores]
    save(run / "results.json", {"scores": scores + more, "keys": {}})
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["config"]["reduction"]["finetune"] = {"tokens": "phones", "self_training": {"rounds": 2}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = write_page(run, tmp_path / "other.html", rows=1).path.read_text(encoding="utf-8")
    for condition in ("no language model; mean", "no language model, baselines with pretraining&#39;s FLOPs; mean",
                      "n-gram on the budget&#39;s own transcripts; mean"):  # fmt: skip
        assert text.count(f"<caption>Error rates and factor, {condition}") == 1
    assert "PER: wrong phones in a hundred" in text
    assert "trained again, 2 times: no factor of labels alone" in text
    assert "Phone error rate over minutes" in text
    # Sound and pictures are letters, too.
    assert not re.search(r"[ (>]CER[ %,:;)<]", text)


def test_same_run_same_bytes(made, tmp_path):
    page, text, _ = made
    run = page.path.parent / "<script>run"
    again = write_page(run, tmp_path / "again.html", rows=ROWS)
    assert again.path.read_text(encoding="utf-8") == text


def test_what_is_no_run_is_refused(tmp_path, capsys):
    for place in (tmp_path, tmp_path / "none"):
        assert main(["report", str(place), "-o", str(tmp_path / "r.html")]) == 2
        assert "must be a run folder" in capsys.readouterr().err
    with pytest.raises(UsageError, match="rows must be at least 0"):
        write_page(tmp_path, tmp_path / "r.html", rows=-1)
    assert not (tmp_path / "r.html").exists()


def test_a_run_without_results_gives_a_page_that_says_so(tmp_path, capsys):
    run = tmp_path / "begun"
    save(run / "results.json", [1])
    (run / "recipe.yaml").write_text("- no mapping\n")
    (run / "pretrain").mkdir()
    (run / "pretrain" / "metrics.jsonl").write_text('{"kind": "train", "audio_hours": 0.1, "loss_bits": 5.0}\n')
    save(run / "abx.json", "{")
    (run / "probe.json").write_text("{")
    assert main(["report", str(run), "-o", str(tmp_path / "r.html")]) == 0
    said = capsys.readouterr().err
    read = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    for part in ("the recipe", "results.json must hold an object", "probe.json", "hypotheses", "--manifest",
                 "--only units", "first evaluation"):  # fmt: skip
        assert part in said
        assert part in read.inside["dl"]
    assert {attributes["id"] for attributes in read.all("section")} == {"measurements", "absent"}


def test_a_named_file_that_cannot_be_used_is_refused_and_the_page_written(tmp_path, capsys):
    run, out = make_run(tmp_path), tmp_path / "r.html"
    write_bundle(tmp_path / "asr.safetensors", {}, {"kind": "recognizer"})
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((run / "units.safetensors").read_bytes()[:-8])
    phones = run / "corpus" / "phones.tsv"
    for option, file, said in (
        ("--units", tmp_path / "asr.safetensors", "units: {} must be a bundle of kind 'units'"),
        ("--units", damaged, "units: the bundle {} cannot be read"),
        ("--also", phones, "the measurements of phones.tsv: its file cannot be read"),
        ("--manifest", phones, "recordings: {}"),
    ):
        assert main(["report", str(run), option, str(file), "--rows", "2", "-o", str(out)]) == 1, option
        assert f"not on the page: {said.format(file)}" in capsys.readouterr().err
        assert said.format(file).partition(": ")[2][:20] in Reader(out.read_text(encoding="utf-8")).inside["dd"]
        out.unlink()
    # What the run itself holds is only said, used or not.
    (run / "units.safetensors").write_bytes(damaged.read_bytes())
    assert main(["report", str(run), "--also", str(run / "units.json"), "--rows", "2", "-o", str(out)]) == 0
    assert "not on the page: units: the bundle" in capsys.readouterr().err


def test_a_phone_may_be_spelled_with_what_no_page_can_hold(tmp_path):
    run = make_run(tmp_path)
    phones = run / "corpus" / "phones.tsv"
    head, *lines = phones.read_text(encoding="utf-8").splitlines()
    spelled = [line.rpartition("\t")[0] + "\ta\x07" if index % 3 else line for index, line in enumerate(lines)]
    phones.write_text("\n".join([head, *spelled]) + "\n", encoding="utf-8")
    write_page(run, tmp_path / "r.html", rows=3)
    assert "a\ufffd" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_an_early_look_is_what_the_sweep_wrote_so_far(tmp_path):
    run = make_run(tmp_path)
    saved = json.loads((run / "results.json").read_text())
    (run / "results.json").rename(run / "gone.json")
    save(run / "unfinished.json", {**saved, "unfinished": 3})
    # Trials of a sweep lie among its trainings.
    (run / "cells" / "pretrained-1-0-dddddddd").mkdir()
    save(run / "cells" / "pretrained-1-0-dddddddd.json", {"key": "d" * 64, "scores": saved["scores"]})
    page = write_page(run, tmp_path / "r.html", rows=100)
    assert "3 trainings are still to come" in {part.what: part.why for part in page.absent}["the whole sweep"]
    assert "saves a factor of" in Reader(page.path.read_text(encoding="utf-8")).inside["p"]


def test_a_single_training_of_another_budget_and_units_that_lie_elsewhere(tmp_path):
    run = make_run(tmp_path)
    scores = json.loads((run / "results.json").read_text())["scores"]
    (run / "results.json").unlink()
    (run / "cells" / "pretrained-1-0-01234567").rename(run / "cells" / "pretrained-30-0-01234567")
    save(run / "cells" / "pretrained-30-0-01234567.json", {"key": "01234567" * 8, "scores": scores[::2]})
    elsewhere = (run / "units.safetensors").rename(tmp_path / "my_units.safetensors")
    page = write_page(run, tmp_path / "r.html", units=elsewhere)
    assert {part.what for part in page.absent} == {"the whole sweep"}
    text = page.path.read_text(encoding="utf-8")
    assert "pretrained, 30 min of labels" in text
    assert {"phones", "confused", "letters"} <= {attributes["id"] for attributes in Reader(text).all("section")}


def test_a_sweep_under_way_and_recordings_that_cannot_be_read(tmp_path):
    run = make_run(tmp_path)
    scores = json.loads((run / "results.json").read_text())["scores"]
    (run / "results.json").unlink()
    # Single trainings, one of them twice: the later one counts.
    trained = {
        "logmel-1-0-aaaaaaaa": scores[::2], "pretrained-1-0-cccccccc": scores[::2],
        "pretrained-1-0-bbbbbbbb": scores[1::2],
    }  # fmt: skip
    for index, (name, part) in enumerate(trained.items()):
        (run / "cells" / name).mkdir(parents=True)
        save(run / "cells" / f"{name}.json", {"key": name[-8:] * 8, "scores": part})
        os.utime(run / "cells" / f"{name}.json", (index, index))
    for beside in ("pretrained-1-0-cccccccc.lm-own.json", "text.json"):
        save(run / "cells" / beside, {"key": "of a language model"})
    for broken in (run / "corpus" / "audio").glob("*11.wav"):
        broken.write_bytes(b"RIFF")
    phones = (run / "corpus" / "phones.tsv").read_bytes()
    write_rows(run / "corpus" / "phones.tsv", ("id", "start", "end", "phone"), [])
    page = write_page(run, tmp_path / "r.html", rows=100)
    absent = {part.what: part.why for part in page.absent}
    assert "2 trainings so far" in absent["the whole sweep"]
    assert "units against phones" in absent
    assert page.recordings == 5
    read = Reader(page.path.read_text(encoding="utf-8"))
    assert "saves a factor of" in read.inside["p"]
    assert not {"phones", "confused"} & {attributes["id"] for attributes in read.all("section")}
    # Phones without units.
    (run / "corpus" / "phones.tsv").write_bytes(phones)
    (run / "units.safetensors").unlink()
    absent = {part.what: part.why for part in write_page(run, tmp_path / "r.html", rows=100).absent}
    assert "--only units" in absent["units"]
    assert not {"examples of units", "units against phones"} & absent.keys()


def test_fewer_rows_go_from_the_best_to_the_worst_too(tmp_path, monkeypatch):
    from speechunits.report.page import listening, write
    from speechunits.report.page.run_files import read_run

    found = read_run(make_run(tmp_path))
    study = write._study(found, 10)
    rows = write._listened(found, study, 100)
    monkeypatch.setattr(listening, "LANE_BYTES", sum(row.bytes for row in rows[:4]))
    fewer = write._listened(found, study, 100)
    assert 2 <= len(fewer) < len(rows)
    assert (fewer[0].recording, fewer[-1].recording) == (rows[0].recording, rows[-1].recording)


def test_a_page_that_would_be_too_large_has_fewer_rows(tmp_path, monkeypatch):
    from speechunits.report.page import write

    run = make_run(tmp_path)
    whole = write_page(run, tmp_path / "whole.html", rows=4)
    monkeypatch.setattr(write, "MAX_BYTES", whole.bytes - 1)
    less = write_page(run, tmp_path / "less.html", rows=4)
    assert less.recordings == 2
    assert less.bytes < whole.bytes
