"""Ten thousand odd inputs: each ends in a result or in one line that says what is wrong."""

from __future__ import annotations

import gzip
import random
import resource
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.small_runs import ROOT, blobs, small
from helpers.tables import people

from stacked_dae.cli.commands import train
from stacked_dae.cli.main import main
from stacked_dae.config.data_schema import DataConfig
from stacked_dae.config.loading import config_from_dict
from stacked_dae.data.builtin.icml2007_archives import PIXELS, read_amat, read_archive
from stacked_dae.data.builtin.idx import read_idx
from stacked_dae.data.tabular.loading import read_table
from stacked_dae.errors import StackedDAEError
from stacked_dae.inference.model import StackedDAE
from stacked_dae.pipeline import api
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.metrics import Metrics
from stacked_dae.training.checkpoints import read_checkpoint
from stacked_dae.tuning import sweep_file
from stacked_dae.tuning.space import read_space
from stacked_dae.tuning.study.checks import check_plan

CONFIG = (ROOT / "configs" / "mnist.yaml").read_bytes()
SWEEP = (ROOT / "configs" / "sweeps" / "noise.yaml").read_bytes()
# What a person or a program may leave where another value should be.
VALUES = [
    *("", "null", "true", "~", ".nan", ".inf", "-.inf", "-1", "0", "1e400", "9" * 400, "0x10", "1_000", "2001-01-01"),
    *("2001-99-99", "[]", "{}", "[[]]", "[1, a]", "{a: 1}", "!!python/object/apply:os.system [ls]", "!!binary aGk="),
    *(
        "!!set {a}",
        "&a [*a]",
        "*nowhere",
        "'",
        '"',
        "- ",
        "? ",
        "|",
        ">",
        "%",
        "@",
        "`",
        "\t",
        "\x00",
        "\x85",
        "é",
        "\ud7ff",
    ),
    *("--x", "=", "${args}", "<<", "../..", "/", "C:\\x", "a" * 5000, "[" * 300, "{" * 300, "sgd", "masking", "relu"),
]


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Return ``content`` with some of it changed, doubled, dropped or exchanged."""
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        at = dice.randrange(len(content) + 1)
        to = min(len(content), at + dice.choice([0, 1, 1, 4, 30]))
        new = dice.choice(
            [
                b"",
                bytes([dice.randrange(256)]),
                dice.choice(VALUES).encode("utf-8", "surrogatepass"),
                content[at:to] * 2,
                content[: dice.randrange(60)],
            ]
        )
        content = content[:at] + new + content[to:]
    return content if dice.random() < 0.95 else content[: dice.randrange(len(content) + 1)]


def revalued(content: bytes, dice: random.Random) -> bytes:
    """Return YAML in which one value has become another."""
    lines = content.decode().splitlines()
    at = dice.choice([k for k, line in enumerate(lines) if ":" in line])
    lines[at] = f"{lines[at].partition(':')[0]}: {dice.choice(VALUES)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


class Outcomes(Counter):
    def of(self, work, *arguments):
        """Count the outcome of a call that raises nothing but our errors, each one line."""
        try:
            work(*arguments)
        except StackedDAEError as error:
            self["refused" if str(error).strip() else "without a text"] += 1
        else:
            self["taken"] += 1
        assert not self["without a text"]


@pytest.fixture
def dice(request):
    return random.Random(request.node.name)


@pytest.fixture(params=[pytest.param(1, id="few"), pytest.param(40, id="many", marks=pytest.mark.slow)])
def times(request):
    """Return how many of the inputs there are: a few in the fast suite, ten thousand in all in the slow one."""
    return request.param


def test_settings_files(tmp_path, capsys, monkeypatch, dice, times):
    """Through the command line as it is, up to where the training would begin.

    Slow with many: thousands of files, each parsed by the whole command line.
    """
    taken = []
    monkeypatch.setattr(train, "_train", lambda *arguments: taken.append(arguments))
    codes = Counter()
    for k in range(40 * times):
        content = (mutated if k % 2 else revalued)(CONFIG, dice)
        (tmp_path / "c.yaml").write_bytes(content)
        try:
            code = main(["fit", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")])
        except SystemExit as end:
            code = end.code
        error = capsys.readouterr().err
        assert code in (0, 2), content
        assert (error.count("\n") == 1 and error.startswith("stacked-dae: error: ")) == (code == 2), (content, error)
        codes[code] += 1
    assert len(taken) == codes[0] > 0 < codes[2]
    assert not (tmp_path / "run").exists()
    print(f"\nsettings files: {dict(codes)}")


# A list whose last item stands for 9 to the power of 25 numbers.
ALIASES = ", ".join(f"&x{k} [{', '.join([f'*x{k - 1}' if k else '1'] * 9)}]" for k in range(25))
HOSTILE = {
    "tags": "seed: !!python/object/apply:os.system ['touch exploded']\n",
    "aliases": f"pretrain: {{units: [{ALIASES}]}}",
    "aliases in options": f"finetune: {{optimizer: {{options: {{a: [{ALIASES}]}}}}}}",
    "aliases as keys": f"? [{ALIASES}]\n: 1\n",
    "a list in itself": "pretrain: {units: &x [*x]}",
    "a mapping in itself": "pretrain: &x {corruption: *x}",
    "deep": "pretrain: " + "[" * 200_000,
    "deep mappings": "".join(f"{' ' * k}a:\n" for k in range(3000)),
    "a long line": "data: {root: " + "x" * 30_000_000 + "}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_settings(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "c.yaml").write_text(HOSTILE[name])
    monkeypatch.setattr(train, "_train", lambda *arguments: None)
    code = main(["fit", "--config", "c.yaml", "--out", "run"])
    assert code == (0 if name == "a long line" else 2)
    error = capsys.readouterr().err
    assert error.count("\n") == (code == 2)
    assert len(error) < 2000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c.yaml"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "not a GB for it"


# Below each of these keys of a sweep file, and as a listed value of a search space.
PARTS = ["method", "metric", "run_cap", "command", "early_terminate", "parameters", "description"]


@pytest.mark.parametrize("part", [*PARTS, "a space"])
@pytest.mark.parametrize("value", ["&x [*x]", "&x {a: *x}", f"[{ALIASES}]"], ids=["list", "mapping", "aliases"])
def test_hostile_sweep_files_and_spaces(tmp_path, capsys, monkeypatch, part, value):
    monkeypatch.chdir(tmp_path)
    if part == "a space":
        Path("s.yaml").write_text(f"pretrain.units: {{values: [50, {value}]}}")
        arguments = ["search", "--space", "s.yaml", "--trials", "3", "--out", "runs"]
    else:
        sweep = yaml.safe_load(SWEEP)
        del sweep[part if part in sweep else "method"]
        Path("s.yaml").write_text(f"{yaml.safe_dump(sweep)}{part}: {value}\n")
        arguments = ["sweep", "s.yaml", "--local", "3", "--out", "runs"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "by its aliases; write the values out" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize("value", ["many", [[50]], {"a": 1}, -1.5])
def test_a_listed_value_is_of_the_settings_type(value):
    itself = []
    itself.append(itself)
    for listed in (value, itself):
        with pytest.raises(StackedDAEError, match=r"^space: pretrain\.units must be a whole number"):
            read_space({"pretrain.units": {"values": [50, listed]}})


def test_sweep_files(tmp_path, monkeypatch, dice, times):
    monkeypatch.chdir(ROOT)
    outcomes = Outcomes()
    for k in range(40 * times):
        (tmp_path / "s.yaml").write_bytes((mutated if k % 2 else revalued)(SWEEP, dice))
        outcomes.of(lambda: check_plan(sweep_file.read_sweep(str(tmp_path / "s.yaml"))[0], 3))
    assert outcomes["refused"]
    print(f"\nsweep files: {dict(outcomes)}")


def test_idx_files(tmp_path, dice, times):
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    whole = struct.pack(">4B3I", 0, 0, 8, 3, *values.shape) + values.tobytes()
    outcomes = Outcomes()
    for k in range(60 * times):
        name = "i.gz" if k % 3 == 0 else "i"
        content = mutated(gzip.compress(whole, 1), dice) if k % 6 == 0 else mutated(whole, dice)
        (tmp_path / name).write_bytes(gzip.compress(content, 1) if k % 6 == 3 else content)
        outcomes.of(read_idx, tmp_path / name, 3)
    assert outcomes["taken"]
    assert outcomes["refused"]
    print(f"\nidx files: {dict(outcomes)}")


def test_amat_files(tmp_path, dice, times):
    line = (" ".join(["0", "0.5", "1", "1e-3"] * (PIXELS // 4)) + " 1\n").encode()
    outcomes = Outcomes()
    for _ in range(30 * times):
        outcomes.of(lambda: read_amat(iter(mutated(line * 2, dice).splitlines(keepends=True)), "file"))
    for _ in range(10 * times):
        (tmp_path / "a.zip").write_bytes(mutated(archive(tmp_path, line), dice))
        outcomes.of(read_archive, tmp_path / "a.zip")
    assert outcomes["taken"] or times == 1
    assert outcomes["refused"]
    print(f"\namat files: {dict(outcomes)}")


def archive(folder: Path, line: bytes) -> bytes:
    import zipfile

    file = folder / "whole.zip"
    if not file.exists():
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
            members.writestr("x_train.amat", line)
            members.writestr("x_test.amat", line)
    return file.read_bytes()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return a folder with one small table in four formats."""
    folder = tmp_path_factory.mktemp("table")
    people(folder / "t.csv", rows=60, labelled=0.9)
    frame = pd.read_csv(folder / "t.csv")
    frame.to_parquet(folder / "t.parquet")
    numbers = frame.select_dtypes("number").to_numpy()
    np.save(folder / "t.npy", np.column_stack([numbers, np.arange(60) % 2]))
    np.savez(folder / "t.npz", x=numbers, bought=frame["bought"].fillna("").to_numpy(str))
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet", "npy", "npz"])
def test_tables(table, tmp_path, dice, times, kind):
    whole = (table / f"t.{kind}").read_bytes()
    file = tmp_path / f"t.{kind}"
    config = DataConfig(path=str(file), target={"npy": "6"}.get(kind, "bought"), drop=[])
    outcomes = Outcomes()
    for _ in range(15 * times):
        file.write_bytes(mutated(whole, dice))
        outcomes.of(lambda: read_table(config, scratch=tmp_path / "scratch", budget_bytes=10**8))
    assert outcomes["refused"]
    print(f"\n{kind} tables: {dict(outcomes)}")


def test_model_files(tmp_path, dice, times):
    model = StackedDAE.from_run(api.fit(small(), tmp_path / "run", dataset=blobs()).path)
    model.save(tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    outcomes = Outcomes()
    for k in range(15 * times):
        # The header is where its meaning is.
        changed = mutated(whole[:700], dice) + whole[700:] if k % 2 else mutated(whole, dice)
        (tmp_path / "m.safetensors").write_bytes(changed)
        outcomes.of(StackedDAE.load, tmp_path / "m.safetensors")
    assert outcomes["refused"]
    print(f"\nmodel files: {dict(outcomes)}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return api.fit(small(), tmp_path_factory.mktemp("run") / "run", dataset=blobs()).path


def test_run_folders(run, dice, times):
    """Its small files, and CSV of a stage that is not done, which nothing checks but its reader."""
    outcomes = Outcomes()
    readers = {
        "manifest.json": lambda: RunFolder.open(run),
        "config.yaml": lambda: RunFolder.open(run).config(),
        "result.json": lambda: RunFolder.open(run).result(),
        "layer_1/metrics.csv": lambda: Metrics(run / "layer_1" / "metrics.csv").rows(),
    }
    for name, read in readers.items():
        whole = (run / name).read_bytes()
        for _ in range(20 * times):
            (run / name).write_bytes(mutated(whole, dice))
            outcomes.of(read)
        (run / name).write_bytes(whole)
    for _ in range(10 * times):
        (run / "c.ckpt").write_bytes(mutated(checkpoint(run), dice))
        outcomes.of(read_checkpoint, run / "c.ckpt")
    assert outcomes["refused"]
    print(f"\nrun folders: {dict(outcomes)}")


def checkpoint(folder: Path) -> bytes:
    import torch

    file = folder / "whole.ckpt"
    if not file.exists():
        torch.save({"epoch": 3, "weights": {"w": torch.zeros(4, 3)}, "stamp": "s"}, file)
    return file.read_bytes()


def test_any_value_in_any_place(dice, times):
    """Plain values, as a program hands them over."""
    odd = [
        None,
        True,
        -1,
        0,
        10**400,
        float("nan"),
        float("inf"),
        "",
        "x",
        [],
        [[]],
        {},
        {"a": []},
        [None],
        object(),
        b"x",
    ]
    whole = yaml.safe_load(CONFIG)
    outcomes = Outcomes()
    for _ in range(30 * times):
        values = yaml.safe_load(CONFIG)
        place = values
        while True:
            key = dice.choice(list(place))
            if not isinstance(place[key], dict) or dice.random() < 0.3:
                break
            place = place[key]
        place[dice.choice([key, key, "x", 3, None])] = dice.choice(odd)
        outcomes.of(config_from_dict, values)
    assert whole == yaml.safe_load(CONFIG)
    assert outcomes["refused"]
    print(f"\nplain values: {dict(outcomes)}")
