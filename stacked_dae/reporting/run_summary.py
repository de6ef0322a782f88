"""The summary of one run in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stacked_dae.inference.rebuilt_rows import Anomalies
from stacked_dae.inference.reports.class_report import ClassReport
from stacked_dae.reporting.console import print_line, print_table
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.manifest import RegressionResult, Result, ResultRecord
from stacked_dae.runs.stage_names import FINETUNE, stage_name
from stacked_dae.training.evaluation import RegressionScore
from stacked_dae.utils.intervals import error_bounds, interval, with_interval
from stacked_dae.utils.terminal.console import Terminal

_MODELS = {
    "sda": "stacked denoising autoencoders",
    "saa": "stacked autoencoders (control: nu = 0)",
    "mlp": "never pre-trained (control)",
}

# Of a file's columns, those whose errors are printed.
_COLUMNS = 8
_SHARES = {
    "inputs": "heads on the inputs",
    "codes": "heads on inputs and codes",
    "finetuned": "fine-tuned networks",
}
# A share that is written as 0.00.
_LEAST_SHARE = 0.005


def print_summary(folder: RunFolder) -> None:
    """Print stage, epochs, loss or error, what its units do, seconds; then the test error with its interval and n."""
    config = folder.config()
    table = Table(title=escape(f"{folder.path}: {_MODELS[config.model]} on {folder.manifest.dataset.name}"))
    table.add_column("stage")
    table.add_column("epochs", justify="right")
    table.add_column("validation", justify="right")
    table.add_column("dead, saturated", justify="right")
    table.add_column("seconds", justify="right")
    for stage, record in folder.manifest.stages.items():
        rows = folder.metrics(stage).rows()
        if not record.is_done or not rows:
            table.add_row(stage, "", record.status, "", "")
        elif stage == FINETUNE:
            rmse = folder.best_valid_rmse()
            best = f"error {record.best_valid_error_percent:.2f} %" if rmse is None else f"RMSE {rmse:.4g}"
            best += f" ({'cross-validated, ' if config.learns_from_validation else ''}epoch {record.best_epoch})"
            table.add_row(stage, str(record.epochs), best, "", f"{record.seconds:.1f}")
        else:
            counted = record.dead_units is not None and record.saturated_percent is not None
            units = f"{record.dead_units}, {record.saturated_percent:.0f} %" if counted else ""
            loss = f"loss {rows[-1]['valid_loss']:.4g}"
            table.add_row(stage, str(record.epochs), loss, units, f"{record.seconds:.1f}")
    console = Terminal()
    print_table(console, table)
    if folder.has_result:
        result = folder.result()
        if isinstance(result, RegressionResult):
            _print_regression(console, result)
            return
        print_line(
            console,
            f"test error {with_interval(result.test_error_percent, result.test_error_ci95_percent, result.n_test)} %"
            f" (95 % interval, n = {result.n_test})",
        )
        if result.mixture:
            shares = ", ".join(f"{_SHARES[name]} {share:.2f}" for name, share in result.mixture.items())
            idle = "" if result.mixture["finetuned"] >= _LEAST_SHARE else "; the networks change nothing here"
            print_line(console, f"mixed by likelihood on held-out labels: {shares}{idle}")
        if result.baselines:
            print_baselines(console, result)
        preprocessing = folder.preprocessing()
        never = never_predicted(result.confusion, preprocessing.classes if preprocessing else None)
        if never:
            print_line(console, f"never predicted: {', '.join(never)}")
        _print_measures(console, result)


def _print_measures(console: Console, result: ResultRecord) -> None:
    if result.metrics:
        measures = ", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items())
        print_line(console, f"test {measures}")


def _print_regression(console: Console, result: RegressionResult) -> None:
    """Print the test errors of a regression, and those of its baselines."""
    score = RegressionScore(result.n_test, result.test_rmse, result.test_mae, result.test_r2, result.test_rows)
    print_line(console, f"test {score}")
    if result.baselines:
        print_baselines(console, result)
    _print_measures(console, result)


def never_predicted(confusion: Sequence[Sequence[int]], names: Sequence[str] | None = None) -> list[str]:
    """Return the classes that have rows and that no row was called."""
    return [
        str(k) if names is None else names[k]
        for k, row in enumerate(confusion)
        if sum(row) and not any(other[k] for other in confusion)
    ]


def print_baselines(console: Console, result: Result | RegressionResult) -> None:
    """Print the test errors of the baselines, and whether the stack is better than the best of them."""
    assert result.baselines is not None
    named = {_named(name): error for name, error in result.baselines.items()}
    numbers = isinstance(result, RegressionResult)
    listed = ", ".join(f"{name} {error:.4g}" if numbers else f"{name} {error:.2f} %" for name, error in named.items())
    best = min(named, key=lambda name: named[name])
    line = f"baselines on the same rows{' (RMSE)' if numbers else ''}: {listed}"
    if _error_of(result) >= named[best]:
        line += f"; the stack does not beat {best} here"
    print_line(console, line)
    if isinstance(result, Result) and _are_close(result, named[best]):
        print_line(console, f"{result.n_test} test rows cannot tell the stack from {best}")


def _are_close(result: Result, other_percent: float) -> bool:
    """Return whether the stack's error may be another one: within its 95 % interval."""
    low, high = error_bounds(result.test_error_percent, result.n_test)
    return low <= other_percent <= high


def _error_of(result: Result | RegressionResult) -> float:
    """Return the test error, in percent, or the RMSE."""
    return result.test_rmse if isinstance(result, RegressionResult) else result.test_error_percent


def print_baseline_table(result: Result | RegressionResult) -> None:
    """Print the test error of a run and of each baseline, the lowest first; the run in bold."""
    errors = {"stack": _error_of(result), **(result.baselines or {})}
    numbers = isinstance(result, RegressionResult)
    table = Table(title=escape(f"{result.dataset}: the same labels, the same {result.n_test} test rows"))
    table.add_column("method")
    table.add_column("test RMSE" if numbers else "test error %, 95 % interval", justify="right")
    for name, error in sorted(errors.items(), key=lambda item: item[1]):
        text = f"{error:.4g}" if numbers else with_interval(error, interval(error, result.n_test), result.n_test)
        table.add_row(_named(name), text, style="bold" if name == "stack" else None)
    print_table(Terminal(), table)


def _named(baseline: str) -> str:
    return {"rbf_svm": "RBF SVM", "mlp": "MLP"}.get(baseline, baseline.replace("_", " "))


def print_layers(folder: RunFolder) -> None:
    """Print the data and the network of a run: each layer's units, activation, corruption, loss and parameters."""
    config, data = folder.config(), folder.manifest.dataset
    preprocessing = folder.preprocessing()
    console = Terminal(highlight=False)
    line = f"{data.name}: {data.inputs} inputs"
    if preprocessing is not None:
        names = preprocessing.names
        line += f" out of {len(names)} columns ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
        if preprocessing.target_column is not None:
            line += f"; predicts {preprocessing.target}"
        elif preprocessing.target:
            classes = preprocessing.classes
            line += f"; classes of {preprocessing.target}: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}"
    print_line(console, line)
    components = folder.manifest.components
    if components:
        print_line(console, f"in place of the settings below: {components}")
    table = Table()
    for name in ("layer", "units", "activation", "corruption", "loss", "parameters"):
        table.add_column(name, justify="right" if name in ("units", "parameters") else "left")
    inputs = data.inputs
    for k, layer in enumerate(config.layers(), 1):
        pre_trained = config.model != "mlp"
        table.add_row(
            stage_name(k),
            str(layer.units),
            layer.activation,
            f"{layer.kind}, nu {layer.nu:g}" if pre_trained and layer.nu else "none",
            layer.loss if pre_trained else "",
            f"{layer.units * (inputs + 1):,}",
        )
        inputs = layer.units
    print_table(console, table)


def print_anomalies(anomalies: Anomalies) -> None:
    """Print the rows with the highest scores and what is unusual in them, then the columns with the greatest errors."""
    console = Terminal(highlight=False)
    table = Table()
    table.add_column("row (from 1)", justify="right")
    table.add_column("score", justify="right")
    table.add_column("its columns with the greatest errors")
    for row in anomalies.unusual:
        listed = ", ".join(f"{name} {error:.3g}" for name, error in row.columns)
        table.add_row(str(row.row), f"{row.score:.3g}", escape(listed))
    print_table(console, table)
    print_line(console, f"median score of all rows {anomalies.median:.3g}")
    known = {name: error for name, error in anomalies.by_column.items() if not math.isnan(error)}
    worst = sorted(known, key=lambda name: -known[name])[:_COLUMNS]
    listed = ", ".join(f"{name} {known[name]:.3g}" for name in worst)
    print_line(console, f"mean error by column, the greatest first: {listed}")


def print_class_report(score: ClassReport, *, with_error: bool = True) -> None:
    """Print what a model makes of labelled rows: class by class, then all, the error among them if asked for."""
    console = Terminal(highlight=False)
    table = Table()
    for name in ("class", "rows", "predicted", "recall %", "precision %"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for k, name in enumerate(score.classes):
        figures = score.of_class(k)
        shares = ("–" if figures[key] is None else f"{100 * figures[key]:.1f}" for key in ("recall", "precision"))
        table.add_row(escape(name), str(figures["rows"]), str(figures["predicted"]), *shares)
    print_table(console, table)
    low, high = score.interval
    if with_error:
        interval = f"{low:.2f} to {high:.2f}; 95 % interval, n = {score.n}"
        print_line(console, f"error {score.error_percent:.2f} % ({interval})")
    area = "" if score.auroc is None else f", area under the curve {score.auroc:.3f}"
    print_line(
        console,
        f"balanced accuracy {score.balanced_accuracy:.3f}, macro F1 {score.macro_f1:.3f}{area},"
        f" log loss {score.log_loss:.3f}",
    )
    never = never_predicted(score.confusion, score.classes)
    if never:
        print_line(console, f"never predicted: {', '.join(never)}")
    if score.unlabelled:
        print_line(console, f"{score.unlabelled} rows without a label count nowhere")
