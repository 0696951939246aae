"""Inventories fitted on the train split of a corpus: units, and the pseudo-text over them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speechunits.audio.corpus import Corpus
from speechunits.config import PseudotextConfig, UnitsConfig, to_tree
from speechunits.errors import ModelRefused, UsageError
from speechunits.run import content_key, file_hash, provenance
from speechunits.units.bundle import read_bundle, tensors_hash
from speechunits.units.fit import fit_units as fit_bundle
from speechunits.units.units import PSEUDOTEXT, Units


def fit_units(
    source: Path | None, corpus: Corpus, config: UnitsConfig, out: Path, *, sizes: Sequence[int] = ()
) -> None:
    """Fit a units bundle on the train split; ``layer: auto`` takes the best by its criterion.

    With ``sizes`` the number of clusters is chosen among them, without labels, once the layer is. A recording that
    cannot be read is named and left out (``corpus.refused``).

    Raises
    ------
    UsageError
        If the configuration cannot be met, or sizes are given for another source than k-means.
    """
    from speechunits.evaluation.select import select_clusters, select_layer  # noqa: PLC0415 - only in fitting

    train = corpus.split("train")
    made_by = {**provenance(config, corpus.manifest), "source_sha256": file_hash(source) if source else None}
    parts = [made_by["config"], made_by["manifest_sha256"], made_by["source_sha256"]]
    # The default criterion may change: what was chosen by another is chosen again.
    made_by["key"] = content_key(*parts, *([config.criterion] if config.layer == "auto" else []), *sizes)
    if out.exists() and read_bundle(out, "units")[1]["provenance"].get("key") == made_by["key"]:
        print(f"{out} is there already, made by the same settings", file=sys.stderr)
        return
    if config.source == "kmeans" and config.layer == "auto" and source is not None:
        choice = select_layer(source, train, corpus.split("tune"), config, on_fault=corpus.refuse)
        made_by["layer_choice"] = choice.to_tree()
        print(f"layer {choice.layer}: the best by {choice.criterion} on held-out speech", file=sys.stderr)
        config = replace(config, layer=choice.layer)
    if sizes:
        if config.source != "kmeans" or source is None:
            raise UsageError(f"clusters: auto needs k-means on an encoder, but the source is {config.source!r}; name K")
        chosen = select_clusters(source, train, corpus.split("tune"), config, sizes, on_fault=corpus.refuse)
        made_by["clusters_choice"] = chosen.to_tree()
        print(f"K = {chosen.clusters}: the best by {chosen.criterion} on held-out speech", file=sys.stderr)
        config = replace(config, clusters=chosen.clusters)
    fitted = fit_bundle(source, train, config, path=out, provenance=made_by, on_fault=corpus.refuse)
    print(f"{out}: {fitted.clusters} units", file=sys.stderr)


def fit_pseudotext(bundle: Path, corpus: Corpus, config: PseudotextConfig, out: Path) -> None:
    """Fit a sentencepiece model on the merged units of train; write the bundle with it to ``out``.

    A bundle that has one, fitted on the same manifest by the same settings, is left as it is. A recording that cannot
    be read is named and left out (``corpus.refused``).
    """
    from speechunits.units.pseudotext import Pseudotext  # noqa: PLC0415
    from speechunits.units.sequence import merged  # noqa: PLC0415

    inventory = Units.load(bundle)
    made_by = {"manifest_sha256": file_hash(corpus.manifest)}
    if _has_pseudotext(out, inventory, config, made_by):
        print(f"the pseudo-text model of {out} is there already, made by the same settings", file=sys.stderr)
        return
    sequences = [merged(found) for _, found in inventory.recordings(corpus.split("train"), corpus.refuse)]
    model = Pseudotext.fit(sequences, inventory.clusters, pieces=config.pieces, model=config.model)
    before = sum(map(len, sequences))
    after = sum(len(model.encode(sequence.tolist())) for sequence in sequences)
    inventory = inventory.with_pseudotext(model)
    inventory.header |= {"pseudotext_config": to_tree(config), "pseudotext_provenance": made_by}
    inventory.save(out)
    # Sentencepiece says nothing where there are fewer.
    fewer = "" if len(model) >= config.pieces else (
        f" (not the {config.pieces} asked for: no more sequences of units recur often enough in train)"
    )  # fmt: skip
    units = f"{before / max(after, 1):.2f} units a piece"
    print(f"{out}: pseudo-text of {len(model)} pieces{fewer}, {units}", file=sys.stderr)


def _has_pseudotext(out: Path, inventory: Units, config: PseudotextConfig, made_by: Mapping[str, str]) -> bool:
    """Tell whether a bundle is the inventory with the model that these settings make of this manifest."""
    try:
        there = Units.load(out)
    except ModelRefused:
        # Nothing, or nothing of use: it is written anew.
        return False
    units = [{name: tensor for name, tensor in own.tensors.items() if name != PSEUDOTEXT} for own in (there, inventory)]
    return (
        there.has_pseudotext
        and there.header.get("pseudotext_config") == to_tree(config)
        and there.header.get("pseudotext_provenance") == made_by
        and there.header["units"] == inventory.header["units"]
        and tensors_hash(units[0]) == tensors_hash(units[1])
    )
