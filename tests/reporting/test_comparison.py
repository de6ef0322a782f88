"""Runs side by side: the table, the CSV, the page in a real browser."""

from __future__ import annotations

import base64
import csv
import http.server
import io
import json
import re
import shlex
import shutil
import subprocess
import threading
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from helpers.small_runs import blobs, small

from stacked_dae.cli.main import main
from stacked_dae.config.loading import config_from_dict
from stacked_dae.config.schema import CorruptionConfig
from stacked_dae.errors import ConfigError
from stacked_dae.figures.run_figures import draw_run
from stacked_dae.pipeline import api
from stacked_dae.reporting import html
from stacked_dae.reporting.columns import Compared
from stacked_dae.reporting.comparison import compare
from stacked_dae.reporting.run_folders import find_runs, read_run
from stacked_dae.reporting.terminal import print_comparison
from stacked_dae.runs.folder import RunFolder
from stacked_dae.utils.files import dump_checksummed, load_checksummed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return three finished runs: two with different ν, and the control."""
    place = tmp_path_factory.mktemp("compare")
    config = small()
    other = replace(config, pretrain=replace(config.pretrain, corruption=CorruptionConfig(nu=[0.0, 0.5])))
    for name, one in (("a", config), ("b", other), ("control", replace(config, model="mlp"))):
        draw_run(api.fit(one, place / name, dataset=blobs()), blobs())
    return place


def compared(*places, sort=None, pictures=False):
    return compare([read_run(run, pictures=pictures) for run in find_runs(list(map(str, places)))], sort)


def test_it_names_exactly_the_keys_that_differ(runs):
    assert compared(runs / "a", runs / "b").keys == ["pretrain.corruption.nu"]
    assert compared(runs / "a", runs / "control").keys == ["model"]
    assert compared(runs).keys == ["model", "pretrain.corruption.nu"]
    assert compared(runs / "a").keys == []


def test_settings_that_are_no_part_of_a_run_are_passed_over(tmp_path):
    config = small()
    moved = replace(config, data=replace(config.data, root="/elsewhere", memory_budget=1.0))
    for name, one in (("a", config), ("b", moved)):
        api.pretrain(one, tmp_path / name, dataset=blobs())
    assert compared(tmp_path).keys == []


def test_it_shows_what_the_run_folders_hold(runs):
    comparison = compared(runs / "a")
    (run,) = comparison.runs
    folder = find_runs([str(runs / "a")])[0]
    result = folder.result()
    assert (run.test_error_percent, run.n_test) == (result.test_error_percent, 90)
    assert run.valid_error_percent == result.best_valid_error_percent
    assert run.seconds == pytest.approx(result.seconds, abs=0.051)
    assert run.losses == {k: folder.metrics(k).rows()[-1]["valid_loss"] for k in ("layer_1", "layer_2")}
    assert run.state == "done"


@pytest.mark.parametrize("place", ["", "*", "[ab]", "a"])
def test_folders_are_found_by_name_above_them_and_by_pattern(runs, place):
    expected = {"": 3, "*": 3, "[ab]": 2, "a": 1}[place]
    assert len(find_runs([str(runs / place)])) == expected
    assert len(find_runs([str(runs / place), str(runs / "a")])) == max(expected, 1), "none twice"


def test_the_best_has_the_lowest_validation_error_whatever_the_test_says():
    fixed = [
        replace(run, valid_error_percent=valid, test_error_percent=test)
        for run, valid, test in zip([read(k) for k in "abc"], [3.0, 2.0, None], [1.0, 5.0, None], strict=True)
    ]
    assert compare(fixed).best is fixed[1]
    assert compare(fixed[2:]).best is None
    order = [run.name for run in compare(fixed, "test").runs]
    assert order == ["x/a", "x/b", "x/c"]
    order = [run.name for run in compare(fixed, "-test").runs]
    assert order == ["x/b", "x/a", "x/c"], "what has none is last either way"
    assert [run.name for run in compare(fixed, "valid").runs] == ["x/b", "x/a", "x/c"]
    assert [run.name for run in compare(fixed, "-nu").runs] == ["x/c", "x/b", "x/a"]


def read(name):
    from stacked_dae.reporting.columns import Compared

    return Compared(f"x/{name}", {"nu": float(ord(name))})


def test_sorting_by_what_is_not_there_is_one_line(runs):
    with pytest.raises(ConfigError, match=r"--sort: there is no column 'tset'.*did you mean"):
        compared(runs, sort="tset")


def test_a_run_that_was_cut_is_shown_as_cut(tmp_path):
    folder = api.fit(small(), tmp_path / "run", dataset=blobs(), test=False)
    assert compared(folder.path).runs[0].state == "not tested"
    folder.update_stage("layer_2", status="running")
    run = compared(folder.path).runs[0]
    assert run.state == "cut in layer_2"
    assert run.test_text == "cut in layer_2"


def test_fine_tuning_of_other_layers_shows_their_losses(runs, tmp_path):
    folder = api.finetune(small(), tmp_path / "few", runs / "a", dataset=blobs())
    one, two = compared(folder.path, runs / "a").runs
    assert one.losses == two.losses


def test_layers_that_were_trained_again_since_are_not_shown_as_its_own(tmp_path):
    layers = api.pretrain(small(), tmp_path / "layers", dataset=blobs())
    tuned = api.finetune(small(), tmp_path / "tuned", layers.path, dataset=blobs())
    before = compared(tuned.path).runs[0]
    assert before.losses.keys() == {"layer_1", "layer_2"}
    longer = replace(small(), pretrain=replace(small().pretrain, epochs=5))
    api.pretrain(longer, layers.path, dataset=blobs(), rerun=True)
    after = compared(tuned.path).runs[0]
    assert after.losses == {}
    assert after.histories.keys() == {"finetune"}
    assert after.seconds == round(tuned.stage("finetune").seconds, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nothing"], "nothing: there is no run folder"),
        ([], "compare needs run folders, or --wandb"),
        (["{}", "--wandb", "a/b"], "compare needs run folders, or --wandb"),
        (["--wandb", "a"], "--wandb must be ENTITY/PROJECT or ENTITY/PROJECT/GROUP, not 'a'"),
        (["{}", "--out", "{}"], "is a folder; name a file"),
        (["{}", "--csv", "{}/x.csv", "--out", "{}"], "is a folder; name a file"),
        (["{}", "--out", "{}/no/x"], "there is no folder"),
        (["{}", "--out", "{}/x", "--csv", "{}/x"], "--out and --csv are the same file"),
        (["{}", "--sort", "x"], "--sort: there is no column 'x'"),
        (["{}", "--cvs", "x"], "unknown option --cvs of compare (did you mean 'csv'?)"),
    ],
)
def test_bad_input_is_one_line(runs, capsys, arguments, message):
    assert main(["compare", *(word.format(runs) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (runs / "x.csv").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("manifest.json", "{", "manifest.json is damaged: it is not as it was written"),
        ("manifest.json", "[" * 100_000, "manifest.json is damaged: it is not as it was written"),
        ("manifest.json", "[1]", "manifest.json is damaged: it is not as it was written"),
        ("manifest.json", {"format": 1}, "manifest.json has format 1, but this version reads"),
        ("manifest.json", {"format": None}, "manifest.json is damaged: its format is not a run's"),
        ("manifest.json", {"stages": []}, "manifest.json is damaged: its stages is not a run's"),
        ("manifest.json", {"parent": 3}, "manifest.json is damaged: its parent is not a run's"),
        ("manifest.json", {"dataset": {"name": "x"}}, "manifest.json is damaged: its dataset.inputs is not a run's"),
        ("manifest.json", {"stages": {"layer_1": 3}}, "manifest.json is damaged: its stages.layer_1 is not"),
        ("manifest.json", {"stages": {"../x": {}}}, "manifest.json is damaged: its stages.../x is not"),
        ("manifest.json", {"stages": {"layer_1": {}}}, "its stages.layer_1.fingerprint is not a run's"),
        (
            "manifest.json",
            {"stages": {"layer_1": {"fingerprint": "f", "status": "done"}}},
            "its stages.layer_1.sha256 is not a run's",
        ),
        ("result.json", "[", "result.json is damaged: it is not as it was written"),
        ("result.json", {"test_error_ci95_percent": None}, "its test_error_ci95_percent is not a result's"),
        ("result.json", {"n_test": "ninety"}, "result.json is damaged: its n_test is not a result's"),
        ("config.yaml", "a: [", "config.yaml is damaged: it is not as it was written"),
        ("config.yaml", "seed: 3", "config.yaml is damaged: it is not as it was written"),
    ],
)
def test_a_damaged_run_is_named(runs, tmp_path, capsys, name, change, message):
    shutil.copytree(runs / "a", tmp_path / "run")
    file = tmp_path / "run" / name
    file.write_text(
        change if isinstance(change, str) else dump_checksummed(load_checksummed(file.read_text()) | change)
    )
    assert main(["compare", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_table_and_csv_in_the_terminal(runs, tmp_path, capsys):
    assert main(["compare", str(runs), "--csv", str(tmp_path / "runs.csv"), "--sort", "valid"]) == 0
    out = capsys.readouterr().out
    assert "they differ in model, pretrain.corruption.nu" in out
    best = compared(runs).best
    assert re.search(rf"\* {Path(best.name).name}\b", out)
    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert [row["best"] for row in rows] == ["True", "False", "False"]
    assert float(rows[0]["test_error_percent"]) == best.test_error_percent
    assert rows[0]["layer_1/valid_loss"] or rows[0]["model"] == "mlp"


def test_the_page_needs_no_network_and_its_table_no_script(runs):
    page = html.page(compared(runs, pictures=True))
    links = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"'`\s>]+)", page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|fetch\(|XMLHttpRequest|import\(", page)
    table = page[page.index('<table id="runs">') : page.index("</table>")]
    best = compared(runs).best
    assert table.count("<tr data-run") == 3
    assert f"{best.valid_error_percent:.2f}" in table


def test_a_phone_sees_the_name_and_the_errors_first(runs):
    page = html.page(compared(runs))
    titles = re.findall(r'<th scope="col" data-key="([^"]+)"', page)
    assert titles[:3] == ["run", "valid_error_percent", "test_error_percent"]
    assert "pretrain.corruption.nu" in titles[3:]


def test_names_and_values_are_escaped():
    hostile = replace(read("a"), name="<script>alert(1)</script>", settings={"data.name": "<b>"})
    page = html.page(compare([hostile, read("b")]))
    assert "<script>alert" not in page
    assert "&lt;b&gt;" in page
    # Nor does it end the data that the script reads.
    ending = replace(read("a"), settings={"nu": 1.0, "x": "</script><img>"}, facts={"command": "</script><!--"})
    page = html.page(compare([ending, read("b")]))
    assert page.count("</script>") == 2
    assert "<img>" not in page


def data_of(page):
    """Return what the page's script reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_the_page_knows_of_each_run_what_its_folder_holds(runs):
    comparison = compared(runs, pictures=True)
    found = data_of(html.page(comparison))
    assert [one["best"] for one in found["runs"]] == [run is comparison.best for run in comparison.runs]
    for one, run in zip(found["runs"], comparison.runs, strict=True):
        facts = dict(one["facts"])
        folder = RunFolder.open(run.name)
        assert facts["fingerprint"] == folder.stage("finetune").fingerprint
        assert f"torch {folder.result().versions['torch']}" in facts["versions"]
        assert one["values"]["test_error_percent"] == run.test_error_percent
        low, high = one["intervals"]["test_error_percent"]
        assert low < run.test_error_percent < high
        curve = [
            (row["epoch"], pytest.approx(row["valid_error_percent"], rel=1e-4)) for row in run.histories["finetune"]
        ]
        assert [tuple(point) for point in one["curves"]["finetune"]] == curve
    pictures = [base64.b64decode(one["filters"]) for one in found["runs"] if one["filters"]]
    assert len(pictures) == 2, "the control has none"
    for picture in pictures:
        assert matplotlib.image.imread(io.BytesIO(picture), format="jpeg").std() > 10


@pytest.mark.slow
def test_its_command_trains_the_same_again(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers = api.pretrain(builtin(), tmp_path / "lay ers")
    tuned = api.finetune(builtin(), tmp_path / "tuned", layers.path)
    whole = api.fit(builtin(), tmp_path / "whole")
    for run in (layers, tuned, whole):
        command = shlex.split(read_run(run).facts["command"])
        assert command[0] == "stacked-dae"
        shutil.rmtree(command[-1], ignore_errors=True)
        assert main(command[1:]) == 0
        again = RunFolder.open(command[-1])
        assert [record.sha256 for record in again.manifest.stages.values()] == [
            record.sha256 for record in run.manifest.stages.values()
        ]


def builtin():
    pretrain = {"units": [8], "epochs": 1}
    return config_from_dict({"data": {"name": "digits"}, "pretrain": pretrain, "finetune": {"epochs": 1}})


def test_what_is_not_finite_is_no_json_of_the_page():
    wild = replace(read("a"), losses={"layer_1": float("inf")}, valid_error_percent=float("nan"))
    wild = replace(
        wild, histories={"layer_1": [{"epoch": 1, "valid_loss": float("nan")}, {"epoch": 2, "valid_loss": 2}]}
    )
    (one, _) = data_of(html.page(compare([wild, read("b")])))["runs"]
    assert one["values"]["layer_1/valid_loss"] is None
    assert one["values"]["valid_error_percent"] is None
    assert one["curves"]["layer_1"] == [[2, 2.0]]


def test_a_setting_of_the_page_is_what_it_is():
    runs = [
        replace(read(name), settings={"units": units, "labels": labels, "tied": tied, "same": [1, 1 + (name == "b")]})
        for name, units, labels, tied in (
            ("a", [20], None, True),
            ("b", [20, 20], 10, False),
            ("c", [20, 30], 100, True),
        )
    ]
    found = [one["values"] for one in data_of(html.page(compare(runs)))["runs"]]
    assert [one["units"] for one in found] == ["[20]", "[20, 20]", "[20, 30]"], "depth is no number of units"
    assert [one["labels"] for one in found] == ["null", 10, 100]
    assert [one["tied"] for one in found] == ["true", "false", "true"]
    assert [one["same"] for one in found] == [1, "[1, 2]", 1]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_damaged_picture_is_left_out_of_the_page(content):
    page = html.page(compare([replace(read("a"), filters=content), read("b")]))
    assert data_of(page)["runs"][0]["filters"] is None


def test_data_that_python_gave_have_no_command(runs):
    assert "command" not in compared(runs).runs[0].facts


def many(count):
    """Return so many runs: three layers of 50 epochs, filters as large as real ones, two settings that differ."""
    dice = np.random.default_rng(0)
    picture = io.BytesIO()
    # Strokes, as filters have them; pure noise would be larger than any.
    strokes = np.kron(dice.random((40, 40)), np.ones((20, 20)))
    matplotlib.image.imsave(picture, strokes, format="png", cmap="gray")
    runs = []
    for k in range(count):
        nu, lr = float(dice.choice([0.0, 0.1, 0.25, 0.4])), float(10 ** dice.uniform(-3, 0))
        error = 5.0 + nu + dice.random()
        rows = [{"epoch": e + 1, "valid_loss": 50 / (e + 1) + nu, "valid_error_percent": error} for e in range(50)]
        runs.append(
            Compared(
                f"runs/trial_{k:03d}",
                {"data.name": "digits", "pretrain.corruption.nu": nu, "finetune.optimizer.lr": lr},
                losses=dict.fromkeys(("layer_1", "layer_2", "layer_3"), rows[-1]["valid_loss"]),
                valid_error_percent=error,
                test_error_percent=error + 0.1,
                test_error_ci95_percent=1.0,
                n_test=1000,
                histories=dict.fromkeys(("layer_1", "layer_2", "layer_3", "finetune"), rows),
                filters=picture.getvalue(),
            )
        )
    return compare(runs)


@pytest.mark.slow
def test_a_page_of_200_runs_has_5_mb_at_the_most():
    assert 100_000 < len(html.page(many(200)).encode()) < 5_000_000


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium here; .ci/run installs it")
    return found


# What a person does on the page, and what is there then. It is told from a frame around it, so the page is not touched.
DRIVER = """
addEventListener('load', async () => {
  const w = frames[0], d = w.document, seen = {};
  const names = () => [...d.querySelectorAll('#runs tbody tr')].filter(r => !r.hidden && r.dataset.run)
    .map(r => r.cells[0].textContent);
  const numbers = (i) => [...d.querySelectorAll('#runs tbody tr')].filter(r => !r.hidden && r.dataset.run)
    .map(r => parseFloat(r.cells[i].textContent));
  const put = (id, value) => { const e = d.getElementById(id); e.value = value;
    e.dispatchEvent(new w.Event(e.tagName === 'INPUT' ? 'input' : 'change')); };
  seen.rows = names().length;
  seen.curves = [...d.querySelectorAll('#curves svg')].map(s => s.getBoundingClientRect().width);
  seen.lines = d.querySelector('#curves svg').querySelectorAll('polyline').length;
  seen.dots = d.querySelectorAll('#scatter circle').length;
  seen.sideways = d.documentElement.scrollWidth > w.innerWidth;
  const header = d.querySelectorAll('#runs th button');
  header[1].click(); seen.up = numbers(1); seen.said = d.querySelectorAll('#runs th')[1].getAttribute('aria-sort');
  header[1].click(); seen.down = numbers(1);
  put('filter', 'nu>0.2'); seen.some = names(); seen.count = d.getElementById('shown').textContent;
  seen.fewer = d.querySelectorAll('#scatter circle').length;
  put('filter', 'no such run'); seen.none = names().length; put('filter', '');
  put('x', 'finetune.optimizer.lr'); seen.log = d.getElementById('log').checked;
  put('y', 'test_error_percent'); seen.bars = d.querySelectorAll('#scatter line[opacity]').length;
  put('color', 'pretrain.corruption.nu'); seen.legend = d.querySelector('.legend').textContent;
  const dot = d.querySelector('#scatter circle'); dot.focus();
  seen.tip = d.getElementById('tip').textContent;
  const svg = d.querySelector('#curves svg'), p = svg.querySelector('polyline'), box = svg.getBoundingClientRect();
  const at = p.getAttribute('points').split(' ')[3].split(',').map(Number), f = box.width / svg.viewBox.baseVal.width;
  svg.dispatchEvent(new w.PointerEvent('pointermove', {clientX: box.left + at[0] * f, clientY: box.top + at[1] * f}));
  seen.hover = d.getElementById('tip').textContent;
  d.querySelector('#runs tbody button').click();
  const more = d.querySelector('.details'); seen.details = more.textContent;
  const image = more.querySelector('img'); if (image) { await image.decode(); seen.picture = image.naturalWidth; }
  seen.address = w.location.hash;
  w.location.reload(); await new Promise(r => frames[0].frameElement.addEventListener('load', r, {once: true}));
  seen.kept = [...frames[0].document.querySelectorAll('select')].map(s => s.value);
  document.title = JSON.stringify(seen);
});
"""


@pytest.mark.parametrize(
    ("width", "count"),
    [
        *[(360, 12), (800, 12)],
        *[
            pytest.param(width, count, marks=pytest.mark.slow)
            for width in (360, 800, 1600)
            for count in (3, 12, 200)
            if (width, count) not in ((360, 12), (800, 12))
        ],
    ],
)
def test_the_page_in_a_browser(tmp_path, chromium, width, count):
    comparison = many(count)
    html.write_page(comparison, tmp_path / "report.html")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        # In a frame as wide as a phone or a desk.
        (tmp_path / "frame.html").write_text(
            f"<!doctype html><link rel=icon href='data:,'><iframe width={width} height=1400 src=report.html></iframe>"
            f"<script>{DRIVER}</script>"
        )
        url = f"http://127.0.0.1:{server.server_address[1]}/frame.html"
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        done = subprocess.run(
            [
                chromium,
                *flags.split(),
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=1700,1500",
                "--enable-logging=stderr",
                "--v=0",
                "--virtual-time-budget=10000",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert "CONSOLE" not in done.stderr, done.stderr
    told = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert told, done.stdout[:2000]
    seen = json.loads(unescape(told.group(1)))
    runs = comparison.runs
    assert seen["rows"] == seen["lines"] == seen["dots"] == count
    assert len(seen["curves"]) == 4, "three layers and fine-tuning"
    assert all(100 < one < width for one in seen["curves"])
    assert not seen["sideways"], "the page itself does not scroll sideways"
    errors = sorted(float(f"{run.valid_error_percent:.2f}") for run in runs)
    assert (seen["up"], seen["down"], seen["said"]) == (errors, errors[::-1], "ascending")
    noisy = [run for run in runs if run.settings["pretrain.corruption.nu"] > 0.2]
    assert sorted(seen["some"]) == sorted(comparison.label(run) for run in noisy)
    assert seen["count"] == f"{len(noisy)} of {count} runs"
    assert (seen["fewer"], seen["none"]) == (len(noisy), 0)
    rates = [run.settings["finetune.optimizer.lr"] for run in runs]
    assert seen["log"] is (max(rates) >= 30 * min(rates)), "rates that are far apart have a logarithmic axis"
    assert seen["bars"] == count, "each test error with its interval"
    assert seen["legend"].startswith("nu ")
    assert re.fullmatch(r"trial_\d+: test % [\d.]+ ± [\d.]+, lr [\d.]+", seen["tip"])
    assert re.fullmatch(r"trial_\d+, epoch 4: [\d.]+", seen["hover"])
    assert "digits" not in seen["details"], "what all share stands below"
    assert "runs/trial_" in seen["details"]
    assert seen["picture"] == 200
    assert "x=finetune.optimizer.lr" in seen["address"]
    assert seen["kept"] == ["pretrain.corruption.nu", "test_error_percent", "finetune.optimizer.lr"]
    assert set(asked) == {"/frame.html", "/report.html"}, "it asks the network for nothing"


def test_a_narrow_terminal_shows_errors_before_settings(capsys, monkeypatch):
    settings = [{f"key_{k}": k + run for k in range(12)} for run in range(2)]
    runs = [Compared(f"run{k}", values, valid_error_percent=12.34 + k) for k, values in enumerate(settings)]
    for width, there in (("80", False), ("200", True)):
        monkeypatch.setenv("COLUMNS", width)
        print_comparison(compare(runs))
        out = capsys.readouterr().out
        assert "12.34" in out
        assert ("no room for" in out) is not there
        assert ("key_11" in out.split("no room for")[0].partition("\n")[2]) is there


@pytest.mark.parametrize("key", ["data.name", "data.source", "data.path", "data.target", "data.split"])
def test_runs_judged_by_different_rows_have_no_best(key):
    runs = [Compared(value, {key: value}, valid_error_percent=1.0) for value in ("one", "other")]
    assert compare(runs).best is None
    assert "No best run: the runs use different data or splits." in html.page(compare(runs))
    assert compare(runs[:1]).best is runs[0]
    assert "Lowest validation error: <b>one</b>" in html.page(compare(runs[:1]))
    untrained = [Compared(name, {}) for name in ("one", "other")]
    assert "No best run: none is fine-tuned yet." in html.page(compare(untrained))
