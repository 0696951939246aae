"""``evaluate abx`` and ``evaluate probe`` over the tiny corpus, and what they say of faulty input."""

import json

import pytest

from speechunits.cli import main


@pytest.fixture(scope="module")
def corpus(tiny_corpus):
    return ["--manifest", str(tiny_corpus / "manifest.tsv"), "--split", "train"]


def phones(tiny_corpus):
    return ["--phones", str(tiny_corpus / "phones.tsv")]


def test_abx_of_layers_and_units(tiny_corpus, tiny_runs, corpus, tmp_path, capsys):
    common = [*corpus, *phones(tiny_corpus), "--span", "phoneme", "--max-group", "4"]
    run, out = str(tiny_runs / "tiny"), tmp_path / "abx.json"
    assert main(["evaluate", "abx", "mfcc", run, "--untrained", *common, "-o", str(out)]) == 0
    measured = json.loads(out.read_text())
    assert [(row["layer"], row["speaker"]) for row in measured["scores"]] == [
        (layer, speaker) for layer in ("", "0", "1", "2", "0", "1", "2") for speaker in ("within", "across")
    ]
    assert all(0 < row["error"] < 0.6 for row in measured["scores"])
    assert measured["settings"]["max_group"] == 4
    assert measured["settings"]["seed"] == 0
    assert measured["version"]
    assert out.with_suffix(".md").read_text() in capsys.readouterr().out

    units = str(tiny_runs / "tiny" / "units.safetensors")
    assert main(["evaluate", "abx", units, "--distance", "edit", "--speaker", "within", *common]) == 0
    assert "| edit |" in capsys.readouterr().out


def test_one_speaker_is_measured_within_and_across_is_named_missing(tiny_corpus, tmp_path, capsys):
    table = [line.split("\t") for line in (tiny_corpus / "manifest.tsv").read_text().splitlines()]
    place = {name: index for index, name in enumerate(table[0])}
    train = [row for row in table[1:] if row[place["split"]] == "train"]
    own = [row for row in train if row[place["speaker"]] == train[0][place["speaker"]]]
    for row in own:
        row[place["audio"]] = str(tiny_corpus / row[place["audio"]])
    manifest, out = tmp_path / "m.tsv", tmp_path / "abx.json"
    manifest.write_text("".join("\t".join(row) + "\n" for row in [table[0], *own]))
    command = ["evaluate", "abx", "mfcc", "--manifest", str(manifest), "--split", "train", *phones(tiny_corpus)]
    command += ["--span", "phoneme", "--max-group", "4", "-o", str(out)]
    said = f"are by '{own[0][place['speaker']]}'; compare this speaker's own with --speaker within"
    assert main(command) == 0
    assert said in capsys.readouterr().out
    measured = json.loads(out.read_text())
    assert [row["speaker"] for row in measured["scores"]] == ["within"]
    assert said in measured["missing"]["across"]
    assert " | – |\n" in out.with_suffix(".md").read_text()
    assert main([*command, "--speaker", "across"]) == 2
    assert said in capsys.readouterr().err
    assert main([*command, "--speaker", "within"]) == 0
    assert json.loads(out.read_text())["missing"] == {}


def test_units_of_the_latents_are_fitted_and_measured(tiny_corpus, tiny_runs, corpus, tmp_path):
    run, units, out = str(tiny_runs / "tiny"), tmp_path / "units.safetensors", tmp_path / "abx.json"
    fit = ["units", "fit", run, "--manifest", corpus[1], "--clusters", "8", "--layer", "-1", "-o", str(units)]
    assert main(fit) == 0
    common = [*corpus, *phones(tiny_corpus), "--span", "phoneme", "--max-group", "3", "--speaker", "across"]
    assert main(["evaluate", "abx", str(units), f"run={run}", "--layer", "-1", *common, "-o", str(out)]) == 0
    layers, errors = zip(*((row["layer"], row["error"]) for row in json.loads(out.read_text())["scores"]), strict=True)
    assert layers == ("-1", "-1")
    assert errors[0] == errors[1] < 0.6


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "kl"])
def test_every_distance_and_what_a_score_depends_on_is_stored(tiny_corpus, corpus, tmp_path, distance):
    out = tmp_path / "abx.json"
    chosen = ["--distance", distance, "--span", "phoneme", "--context", "any", "--speaker", "across", "--seed", "7"]
    limits = ["--max-group", "3", "--max-other-speakers", "2", "--drop-last-frame"]
    command = ["evaluate", "abx", "mfcc", *corpus, *phones(tiny_corpus), *chosen, *limits, "-o", str(out)]
    assert main(command) == 0
    measured = json.loads(out.read_text())
    assert measured["settings"] == {
        "span": "phoneme", "speakers": ["across"], "context": "any", "distance": distance, "max_group": 3,
        "max_other_speakers": 2, "seed": 7, "drop_last_frame": True,
    }  # fmt: skip
    assert [row["distance"] for row in measured["scores"]] == [distance]
    assert 0 < measured["scores"][0]["error"] < 0.5
    assert measured["items"]["subsampled"] < measured["items"]["given"]
    assert len(measured["items"]["key"]) == 16


def test_items_written_from_phones_score_the_same(tiny_corpus, corpus, tmp_path):
    items, first, second = (tmp_path / name for name in ("x.item", "a.json", "b.json"))
    made = ["--span", "phoneme", "--save-items", str(items), "-o", str(first)]
    assert main(["evaluate", "abx", "mfcc", *corpus, *phones(tiny_corpus), *made]) == 0
    given = ["--items", str(items), "--context", "any", "-o", str(second)]
    assert main(["evaluate", "abx", "mfcc", *corpus, *given]) == 0
    scores = [json.loads(path.read_text())["scores"] for path in (first, second)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one item"),
        ("#file\nnobody 0 1 a k t ana\n", "is a recording of the split"),
        ("#file\n{id} 0 9999 a k t ana\n", "lie beyond the end"),
        ("#file\n{id} 0.1 0.2 a k t ana\n", "needs triples"),
    ],
)
def test_item_files_that_do_not_fit_are_2(tiny_corpus, corpus, tmp_path, capsys, text, message):
    rows = [line.split("\t") for line in (tiny_corpus / "manifest.tsv").read_text().splitlines()]
    name = next(row[rows[0].index("id")] for row in rows if row[rows[0].index("split")] == "train")
    path = tmp_path / "x.item"
    path.write_text(text.format(id=name))
    assert main(["evaluate", "abx", "mfcc", *corpus, "--items", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_probes_of_phone_and_speaker_and_a_reason_for_words(tiny_corpus, tiny_runs, corpus, tmp_path, capsys):
    out = tmp_path / "probe.json"
    command = ["evaluate", "probe", str(tiny_runs / "tiny"), *corpus, *phones(tiny_corpus), "--untrained"]
    command += ["--layer", "1", "--seeds", "2", "--examples", "600", "-o", str(out)]
    assert main(command) == 0
    measured = json.loads(out.read_text())
    assert "no word alignment" in measured["labels"]["word"]["skipped"]
    phone = measured["labels"]["phone"]
    names = [row["source"].split("/")[-1].split()[0] for row in phone["rows"]]
    assert names[:2] == ["mfcc", "logmel"]
    assert names[-1] == "supervised"
    assert sum("untrained" in row["source"] for row in phone["rows"]) == 1
    accuracy = {name: row["accuracy"] for name, row in zip(names, phone["rows"], strict=True)}
    assert accuracy["mfcc"] > phone["majority"] > phone["chance"]
    assert accuracy["supervised"] > phone["majority"]
    assert all(len(row["accuracies"]) == 2 for row in phone["rows"])
    assert measured["labels"]["speaker"]["majority"] < 1
    shown = capsys.readouterr()
    assert "majority class" in shown.out
    assert "frames of the supervised network: 100 %" in shown.err
    again = tmp_path / "again.json"
    assert main([*command[:-1], str(again)]) == 0
    assert json.loads(again.read_text()) == measured


def test_words_of_a_synthetic_corpus_are_probed(tiny_corpus, corpus, tmp_path):
    out = tmp_path / "probe.json"
    words = ["--words", str(tiny_corpus / "words.tsv"), "--label", "word", "--seeds", "1", "-o", str(out)]
    assert main(["evaluate", "probe", "mfcc", *corpus, *words]) == 0
    word = json.loads(out.read_text())["labels"]["word"]
    assert 2 < word["classes"] <= 50
    assert word["rows"][0]["accuracy"] > word["majority"] > word["chance"]


def test_nothing_to_probe_is_2(tiny_corpus, corpus, capsys):
    assert main(["evaluate", "probe", "mfcc", *corpus, "--label", "phone", "--label", "word"]) == 2
    assert "no phone alignment" in capsys.readouterr().err
