"""A folder for the Hugging Face Hub: weights, settings, and a model card made from the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked_dae.config.schema import Config
from stacked_dae.errors import ConfigError
from stacked_dae.inference.model import StackedDAE
from stacked_dae.inference.model_file import HUB_FILE
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import RegressionResult, Result
from stacked_dae.utils.files import write_text
from stacked_dae.utils.intervals import with_interval
from stacked_dae.utils.nested import flatten, set_dotted
from stacked_dae.utils.yaml_io import dump_yaml
from stacked_dae.version import __version__

CARD, SETTINGS = "README.md", "settings.yaml"
_PAPER = "Vincent, Larochelle, Bengio and Manzagol, ICML 2008, doi 10.1145/1390156.1390294"
_LAYERS = "Layers pre-trained one after the other as"
_KINDS = {
    "sda": ("Stacked denoising autoencoders", f"{_LAYERS} denoising autoencoders ({_PAPER})"),
    "saa": ("Stacked autoencoders", f"{_LAYERS} autoencoders without noise, a control of {_PAPER}"),
    "mlp": ("A network without pre-training", f"A network that was never pre-trained, a control of {_PAPER}"),
}
# Settings that say where somebody's files are, or how a machine is used.
_PRIVATE = ("data.path", "data.root", "data.memory_budget", "tracking.", "trainer.")


def export_hub(run: RunFolder, out: Path) -> Path:
    """Write the model of a run, its settings and its card into a folder, and return the folder.

    :meth:`StackedDAE.from_hub` loads it; ``hf upload OWNER/NAME FOLDER`` puts it onto the Hub. Where the user's files
    lie is left out.

    Args:
        run: the run folder.
        out: the folder: new, empty, or an earlier one of this kind, whose files are replaced.

    Raises:
        ConfigError: the folder holds other files.
        StageError: the run has no such weights, or its files have changed.
    """
    ours = {HUB_FILE, CARD, SETTINGS}
    if out.exists() and (not out.is_dir() or {file.name for file in out.iterdir()} - ours):
        raise ConfigError(f"--out {out} is a file, or holds other files; name a new folder")
    model = StackedDAE.from_run(run.path)
    settings: dict[str, Any] = {}
    for name, value in _told(run.config()).items():
        set_dotted(settings, name, value)
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / HUB_FILE)
    write_text(out / SETTINGS, dump_yaml(settings))
    write_text(out / CARD, _card(run, model, settings))
    return out


def _told(config: Config) -> dict[str, Any]:
    """Return the settings that are not at their defaults, and those that say what was trained."""
    defaults, values = flatten(Config().to_dict()), flatten(config.to_dict())
    always = ("model", "task", "pretrain.units", "pretrain.corruption.kind", "pretrain.corruption.nu")
    told = {name: value for name, value in values.items() if name in always or value != defaults[name]}
    return {name: value for name, value in told.items() if not name.startswith(_PRIVATE)}


def _card(run: RunFolder, model: StackedDAE, settings: dict[str, Any]) -> str:
    """Return the model card: what it is, how it is used, what was measured, and what it must not be taken for."""
    result = run.result() if run.has_result else None
    data = run.manifest.dataset.name
    table = model.preprocessing
    kind = None if table is None else "image" if table.are_pixels else "tabular"
    title, method = _KINDS[run.config().model]
    header: dict[str, Any] = {
        "library_name": "stacked-dae",
        "tags": ["stacked-dae", "denoising-autoencoder", "pytorch-lightning", *([kind] if kind else [])],
    }
    if result is not None and kind is not None:
        header["model-index"] = [{"name": f"stacked-dae on {data}", "results": [_measured(result, data, kind)]}]
    parts = [
        f"---\n{dump_yaml(header)}---\n",
        f"# {title} on {data}\n",
        f"{method}, with stacked-dae {__version__}.\n",
        f"```text\n{model.summary()}\n```\n",
        "## Use\n",
        '```python\nfrom stacked_dae import StackedDAE\n\nmodel = StackedDAE.from_hub("OWNER/NAME")  # or this folder\n'
        f"{'model.predict(rows)' if model.finetuned else 'model.encode(rows)'}\n```\n",
        _rows(model),
        "## What was measured\n",
        _results(result),
        "## Settings\n",
        f"```yaml\n{dump_yaml(settings)}```\n",
    ]
    return "\n".join(parts)


def _rows(model: StackedDAE) -> str:
    """Say what rows the model takes, and what it answers."""
    table = model.preprocessing
    if table is not None and table.are_pixels:
        shape = "×".join(map(str, table.image_shape)) if table.image_shape else str(len(model.columns))
        text = f"Rows are images of {shape} pixels, 0 to 255 or 0 to 1."
    elif table is None:
        text = f"Rows are (n, {len(model.columns)}) numbers, scaled as in training."
    else:
        text = f"Rows are a frame with the columns {', '.join(model.columns)}; missing values are allowed."
    if model.finetuned and model.target_column is None:
        text += f" It answers one of {', '.join(map(str, model.classes))}."
    return f"{text}\n"


def _results(result: Result | RegressionResult | None) -> str:
    if result is None:
        return "Nothing: the run was not tested.\n"
    if isinstance(result, RegressionResult):
        lines = [f"Test RMSE {result.test_rmse:.4g}, MAE {result.test_mae:.4g} (n = {result.n_test})."]
        known = [f"{name.replace('_', ' ')} {error:.4g}" for name, error in (result.baselines or {}).items()]
    else:
        error = with_interval(result.test_error_percent, result.test_error_ci95_percent, result.n_test)
        lines = [f"Test error {error} % (95 % interval, n = {result.n_test})."]
        known = [f"{name.replace('_', ' ')} {error:.2f} %" for name, error in (result.baselines or {}).items()]
    if known:
        lines.append(f"On the same rows: {', '.join(known)}.")
    lines.append("The test rows are of the same source as the training rows; on others it may do worse.")
    return " ".join(lines) + "\n"


def _measured(result: Result | RegressionResult, data: str, kind: str) -> dict[str, Any]:
    """Return the test figure as the Hub reads it."""
    if isinstance(result, RegressionResult):
        task, metric = "regression", {"type": "rmse", "value": result.test_rmse}
    else:
        task, metric = "classification", {"type": "accuracy", "value": round(1 - result.test_error_percent / 100, 6)}
    return {"task": {"type": f"{kind}-{task}"}, "dataset": {"name": data, "type": data}, "metrics": [metric]}
