"""The commands on one run folder. torch is imported once they need it."""

from __future__ import annotations

import json
from pathlib import Path

from stacked_dae.cli.options import (
    AnomaliesOptions,
    EncodeOptions,
    EvaluateOptions,
    ExportOptions,
    PredictOptions,
    ReconstructOptions,
    RunDataOptions,
    RunOptions,
    RunsOptions,
)
from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.files import check_apart, check_output
from stacked_dae.utils.terminal.text import say


def run_evaluate(options: EvaluateOptions) -> None:
    """Print the test error of a run, and what it makes of each class; of its test rows, or of the rows of a file."""
    out = _output(options.out, options.data, ".json") if options.out else None
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.reports.class_report import ClassReport, score_file, score_rows
    from stacked_dae.inference.reports.regression_report import score_number_file
    from stacked_dae.inference.run_data import run_data
    from stacked_dae.pipeline.api import evaluate
    from stacked_dae.reporting.run_summary import print_class_report
    from stacked_dae.runs.folder import RunFolder
    from stacked_dae.training.evaluation import RegressionScore, Score
    from stacked_dae.utils.files import write_text

    found: ClassReport | RegressionScore
    if options.data is None:
        data = run_data(RunFolder.open(Path(options.run)), root=options.root)
        tested = evaluate(options.run, dataset=data)
        if isinstance(tested, Score):
            say(f"test error {tested}")
            test = data.load_test()
            found = score_rows(StackedDAE.from_run(options.run, "finetuned"), test.inputs, test.labels)
        else:
            found = tested
    else:
        model = StackedDAE.from_run(options.run, "finetuned")
        found = (score_file if model.target_column is None else score_number_file)(model, options.data)
    if isinstance(found, ClassReport):
        print_class_report(found, with_error=options.data is not None)
    else:
        say(f"{'test' if options.data is None else options.data} {found}")
    if out is not None:
        write_text(out, json.dumps(found.to_dict(), indent=2) + "\n")
        say(out)


def run_baselines(options: RunDataOptions) -> None:
    """Test what the result of a run should beat, and print all beside it."""
    from stacked_dae.pipeline.api import measure_baselines
    from stacked_dae.reporting.run_summary import print_baseline_table
    from stacked_dae.utils.terminal.progress import command_reporter

    with command_reporter() as reporter:
        folder = measure_baselines(options.run, root=options.root, progress=reporter)
    print_baseline_table(folder.result())


def run_plot(options: RunDataOptions) -> None:
    """Draw the figures of a run."""
    from stacked_dae.figures.run_figures import draw_run
    from stacked_dae.runs.folder import RunFolder

    for file in draw_run(RunFolder.open(Path(options.run)), root=options.root):
        say(file)


def run_summary(options: RunOptions) -> None:
    """Print what a run is: its data, layers, stages and result."""
    from stacked_dae.reporting.run_summary import print_layers, print_summary
    from stacked_dae.runs.folder import RunFolder

    folder = RunFolder.open(Path(options.run))
    print_layers(folder)
    print_summary(folder)


def run_predict(options: PredictOptions) -> None:
    """Write the class and the probabilities of each row of a file."""
    out = _output(options.out, options.data, ".csv")
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.predictions import write_predictions
    from stacked_dae.utils.terminal.progress import command_reporter

    model = StackedDAE.from_run(options.run)
    model.check_finetuned()
    with command_reporter() as reporter:
        rows = write_predictions(model, Path(options.data), out, reporter, options.keep_columns or ())
    say(f"{out}: {rows} rows")


def run_encode(options: EncodeOptions) -> None:
    """Write the codes of each row of a file."""
    out = _output(options.out, options.data, ".npy", ".parquet", ".csv")
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.predictions import write_codes
    from stacked_dae.utils.terminal.progress import command_reporter

    model = StackedDAE.from_run(options.run, options.weights)
    layer = model.check_layer(options.layer)
    with command_reporter() as reporter:
        rows = write_codes(model, Path(options.data), layer, out, reporter)
    say(f"{out}: {rows} rows of {model.stack.widths[layer - 1]} codes, layer {layer}")


def run_reconstruct(options: ReconstructOptions) -> None:
    """Write each row of a file as the pre-trained layers rebuild it."""
    out = _output(options.out, options.data, ".csv", ".npy")
    if out.suffix == ".npy" and options.keep_columns:
        raise ConfigError("--keep-columns applies only with --out FILE.csv")
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.rebuilt_rows import write_reconstructions
    from stacked_dae.utils.terminal.progress import command_reporter

    model = StackedDAE.from_run(options.run)
    layer = model.check_layer(options.layer)
    with command_reporter() as reporter:
        rows = write_reconstructions(model, Path(options.data), layer, out, reporter, options.keep_columns or ())
    say(f"{out}: {rows} rows, rebuilt from the codes of layer {layer}")


def run_anomalies(options: AnomaliesOptions) -> None:
    """Write how unusual each row of a file is, and by which columns; print the most unusual."""
    out = _output(options.out, options.data, ".csv")
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.rebuilt_rows import write_anomalies
    from stacked_dae.reporting.run_summary import print_anomalies
    from stacked_dae.utils.terminal.progress import command_reporter

    model = StackedDAE.from_run(options.run)
    layer = model.check_layer(options.layer)
    with command_reporter() as reporter:
        found = write_anomalies(model, Path(options.data), layer, out, reporter, options.keep_columns or ())
    print_anomalies(found)
    say(f"{out}: {found.rows} rows")


def run_export(options: ExportOptions) -> None:
    """Write the model of a run for other programs."""
    if options.format == "hub":
        from stacked_dae.inference.exports.hub_export import export_hub
        from stacked_dae.runs.folder import RunFolder

        folder = Path(options.out) if options.out else Path(options.run) / "hub"
        say(f"{export_hub(RunFolder.open(options.run), folder)}: hf upload OWNER/NAME {folder} puts it onto the Hub")
        return
    ending = {"onnx": ".onnx", "torch": ".pt2"}[options.format]
    out = _output(options.out, None, ending) if options.out else Path(options.run) / f"model{ending}"
    from stacked_dae.inference.exports.onnx_export import export_onnx
    from stacked_dae.inference.exports.torch_export import export_torch
    from stacked_dae.inference.model import StackedDAE

    model = StackedDAE.from_run(options.run)
    apart = (export_onnx if options.format == "onnx" else export_torch)(model, out)
    say(f"{out}: its outputs match ours to within {apart:.1e}")
    if options.format == "torch" and model.preprocessing is not None:
        say("it takes the network's inputs, not the table's columns; StackedDAE.inputs_of makes them")


def _output(out: str | None, data: str | None, *endings: str) -> Path:
    """Return the file that is to be written, checked; ``data`` is the file that is read, if any."""
    if out is None:
        raise ConfigError(f"--out FILE is required, a file that ends in {' or '.join(endings)}")
    file = Path(out)
    if file.suffix not in endings:
        raise ConfigError(f"--out {file}: it must end in {' or '.join(endings)}{suggest(file.suffix, endings)}")
    check_output("--out", file)
    check_apart("--out", file, data)
    return file


def run_runs(options: RunsOptions) -> None:
    """List the runs below a folder, show one, or remove the layers that none needs from the stores."""
    if options.dry_run and options.action != "clean":
        raise ConfigError(f"--dry-run is for runs clean alone; leave it out of runs {options.action}")
    if options.action == "show":
        run_summary(RunOptions(options.folder))
        return
    if options.action == "list":
        from stacked_dae.reporting.terminal import print_runs

        print_runs(options.folder)
        return
    from stacked_dae.reporting.run_folders import runs_below
    from stacked_dae.runs.cleaning import remove_layers, unused_layers
    from stacked_dae.runs.folder import RunFolder

    place = Path(options.folder)
    if not place.is_dir():
        raise ConfigError(f"{place} is not a folder; name one that holds runs and their stores of layers")
    unused, count = unused_layers(place, map(RunFolder.open, runs_below(place)))
    removed = unused if options.dry_run else remove_layers(unused)
    for layer in removed:
        say(layer.folder)
    size = sum(layer.size_bytes for layer in removed) / 1e6
    how = "would be removed" if options.dry_run else "removed"
    say(f"{len(removed)} of {count} layers {how}, {size:.1f} MB")
