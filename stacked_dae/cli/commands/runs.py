"""What each command on a finished run does with its options; torch is imported once it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacked_dae.errors import ConfigError, suggest
from stacked_dae.utils.files import check_output


def run_evaluate(asked: Any) -> None:
    """Print the test error of a run."""
    from stacked_dae.pipeline.runner import evaluate

    print(f"test error {evaluate(asked.run, root=asked.root)}")


def run_plot(asked: Any) -> None:
    """Draw the figures of a run."""
    from stacked_dae.reporting.run_figures import draw_run
    from stacked_dae.runs.folder import RunFolder

    for file in draw_run(RunFolder.open(Path(asked.run)), root=asked.root):
        print(file)


def run_summary(asked: Any) -> None:
    """Print what a run is: its data, layers, stages and result."""
    from stacked_dae.reporting.run_summary import print_layers, print_summary
    from stacked_dae.runs.folder import RunFolder

    folder = RunFolder.open(Path(asked.run))
    print_layers(folder)
    print_summary(folder)


def run_predict(asked: Any) -> None:
    """Write the class and the probabilities of each row of a file."""
    out = _output(asked, ".csv")
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.predictions import write_predictions
    from stacked_dae.utils.progress import TerminalReporter

    model = StackedDAE.from_run(asked.run)
    model.check_finetuned()
    with TerminalReporter() as reporter:
        rows = write_predictions(model, Path(asked.data), out, reporter)
    print(f"{out}: {rows} rows")


def run_encode(asked: Any) -> None:
    """Write the codes of each row of a file."""
    out = _output(asked, ".npy", ".parquet", ".csv")
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.predictions import write_codes
    from stacked_dae.utils.progress import TerminalReporter

    model = StackedDAE.from_run(asked.run, asked.weights)
    layer = model.check_layer(asked.layer)
    with TerminalReporter() as reporter:
        rows = write_codes(model, Path(asked.data), layer, out, reporter)
    print(f"{out}: {rows} rows of {model.stack.widths[layer - 1]} codes, layer {layer}")


def run_export(asked: Any) -> None:
    """Write the model of a run for other programs."""
    ending = {"onnx": ".onnx", "torch": ".pt2"}[asked.format]
    out = _output(asked, ending) if asked.out else Path(asked.run) / f"model{ending}"
    from stacked_dae.inference.model import StackedDAE
    from stacked_dae.inference.onnx_export import export_onnx
    from stacked_dae.inference.torch_export import export_torch

    model = StackedDAE.from_run(asked.run)
    apart = (export_onnx if asked.format == "onnx" else export_torch)(model, out)
    print(f"{out}: its outputs equal ours to {apart:.1e}")
    if asked.format == "torch" and model.preprocessing is not None:
        print("it takes inputs as the network does: the table's scaling and one-hot columns are not in it")


def _output(asked: Any, *endings: str) -> Path:
    """Return the file that is to be written, checked."""
    if asked.out is None:
        raise ConfigError(f"--out FILE is needed, a file that ends in {' or '.join(endings)}")
    out = Path(asked.out)
    if out.suffix not in endings:
        raise ConfigError(f"--out {out}: it must end in {' or '.join(endings)}{suggest(out.suffix, endings)}")
    check_output("--out", out)
    data = getattr(asked, "data", None)
    if data is not None and out.resolve() == Path(data).resolve():
        raise ConfigError(f"--out {out}: that is the file to read; name another")
    return out
