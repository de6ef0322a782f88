"""Layers that no run needs any more, and their removal from stores."""

from __future__ import annotations

import shutil
from dataclasses import replace

from helpers.small_runs import blobs, small

from stacked_dae import fit
from stacked_dae.cli.main import main
from stacked_dae.utils.files import lock_folder


def with_noise(*nu):
    config = small()
    corruption = replace(config.pretrain.corruption, nu=list(nu))
    return replace(config, pretrain=replace(config.pretrain, corruption=corruption))


def stored(place):
    return sorted(record.parent.name for record in place.rglob("record.json"))


def test_only_layers_that_no_run_names_are_removed(tmp_path, capsys):
    place = tmp_path / "runs"
    kept = fit(small(), place / "kept", dataset=blobs(), layers=place / "layers")
    gone = fit(with_noise(0.25, 0.1), place / "gone", dataset=blobs(), layers=place / "layers")
    alone = gone.stage("layer_2").fingerprint
    assert main(["runs", "clean", str(place)]) == 0
    assert capsys.readouterr().out == "0 of 3 layers removed, 0.0 MB\n"
    shutil.rmtree(gone.path)
    before = stored(place)
    assert main(["runs", "clean", str(place), "--dry-run"]) == 0
    assert f"{place}/layers/{alone}\n1 of 3 layers would be removed" in capsys.readouterr().out
    assert stored(place) == before
    assert main(["runs", "clean", str(place)]) == 0
    assert stored(place) == sorted(kept.stage(name).fingerprint for name in ("layer_1", "layer_2"))
    again = fit(small(), place / "again", dataset=blobs(), layers=place / "layers")
    assert again.result().test_error_percent == kept.result().test_error_percent


def test_layers_of_a_run_elsewhere_or_at_work_stay(tmp_path, capsys):
    run = fit(small(), tmp_path / "elsewhere" / "run", dataset=blobs(), layers=tmp_path / "store")
    assert main(["runs", "clean", str(tmp_path / "store")]) == 0
    assert len(stored(tmp_path / "store")) == 2, "their files are linked into the run"
    shutil.rmtree(run.path)
    lock_folder(tmp_path / "store" / run.stage("layer_1").fingerprint)
    capsys.readouterr()
    assert main(["runs", "clean", str(tmp_path / "store")]) == 0
    assert "1 of 2 layers removed" in capsys.readouterr().out
    assert stored(tmp_path / "store") == [run.stage("layer_1").fingerprint]


def test_a_folder_that_is_none_or_damaged_is_one_line(tmp_path, capsys):
    assert main(["runs", "clean", str(tmp_path / "none")]) == 2
    assert "none is not a folder; name one that holds runs" in capsys.readouterr().err
    run = fit(small(), tmp_path / "run", dataset=blobs(), layers=tmp_path / "layers")
    (run.path / "manifest.json").write_text("{}")
    assert main(["runs", "clean", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert len(stored(tmp_path)) == 2, "a run that cannot be read may need them"
    assert main(["runs", "tidy", str(tmp_path)]) == 2
    assert "runs must be followed by one of list, show, clean, not 'tidy'" in capsys.readouterr().err
