"""The options of each command: a field's type says what the option takes, its metadata what ``--help`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from stacked_dae.config.data_schema import Decimal, Scale, Source
from stacked_dae.config.schema import Format, Task, Weights
from stacked_dae.reproduction.models import MODELS
from stacked_dae.reproduction.published import PROBLEMS
from stacked_dae.reproduction.search_space import BUDGETS, Preset
from stacked_dae.tuning.plan import Pruner, Sampler

Study = Literal["icml2008", "filters", "noise"]
"""The table, and two studies with a picture each."""
DataAction = Literal["list", "prepare", "show", "check"]
Shell = Literal["bash", "zsh", "tcsh"]
# Types whose text an error shows; those of a Literal describe themselves.
Count = Annotated[int, "a whole number above 0"]
Seed = Annotated[int, "a whole number of at least 0"]
File = Annotated[str, "the name of a file"]
Folder = Annotated[str, "a folder"]
Place = Annotated[str, "the name of a file or folder"]
Columns = Annotated[list[str], "names of columns"]
ColumnName = Annotated[str, "the name of a column"]
Character = Annotated[str, "one character"]
RunPath = Annotated[str, "RUN, a run folder"]


def _option(text: str, default: Any = None, **how: Any) -> Any:
    """Return a field for ``--NAME``; ``how`` may hold ``flag``, its name on the command line, and ``required``."""
    return field(default=default, metadata={"help": text, **how})


def _positional(text: str, **how: Any) -> Any:
    return field(metadata={"help": text, "positional": True, **how})


@dataclass(frozen=True)
class TrainOptions:
    """Options of fit, pretrain and finetune beside the settings of the experiment."""

    out: Folder | None = _option("Run folder; runs/DATA-MODEL-FINGERPRINT when not given.")
    rerun: bool = _option(
        "Train again from the first stage that differs, where the run folder holds another experiment.", False
    )


@dataclass(frozen=True)
class PretrainOptions(TrainOptions):
    """Options of fit and pretrain beside the settings of the experiment."""

    layers: Folder | None = _option(
        "Folder of trained layers that runs share: a layer that is there is not trained again, a new one is kept."
    )


@dataclass(frozen=True)
class FinetuneOptions(TrainOptions):
    """Options of finetune beside the settings of the experiment."""

    pretrained: Folder | None = _option("Run folder of the layers; its settings are the defaults.")


@dataclass(frozen=True)
class SearchOptions:
    """Options of search beside the settings of every trial."""

    space: File | None = _option("YAML file of the settings that vary (required): setting: {values: [...]}.")
    trials: Count = _option("Trials of the search.", 20)
    out: Folder | None = _option("Folder of the search; runs/search-SPACE when not given.")
    sampler: Sampler = _option("How settings are drawn.", "tpe")
    pruner: Pruner = _option("How trials are stopped early, by the validation error of fine-tuning.", "none")
    workers: Count = _option("Processes that train trials at the same time.", 1)
    finetune_trials: Count = _option(
        "Trials in a row that have the same layers and differ in fine-tuning alone.", 1, flag="finetune-trials"
    )
    storage: Annotated[str, "the URL of an Optuna storage"] | None = _option(
        "URL of an Optuna storage, for a study that several machines share; a database in --out when not given."
    )


@dataclass(frozen=True)
class RunOptions:
    """Options of a command on one run folder."""

    run: RunPath = _positional("Run folder.")


@dataclass(frozen=True)
class RunDataOptions(RunOptions):
    """Options of a command that reads a run folder and its data."""

    root: Folder | None = _option("Folder of the data files.", flag="data.root")


@dataclass(frozen=True)
class EvaluateOptions(RunDataOptions):
    """Options of evaluate."""

    data: File | None = _option("Labelled rows to test the run on; the test rows of its own data by default.")
    out: File | None = _option("JSON file for the figures.")


_ROWS = "File of rows with the columns that the run was trained on."
_KEEP_COLUMNS = "Columns of the data that come first in each line of the output, such as an identifier."
_LAYER = "Layer, from 1; the uppermost when not given."


@dataclass(frozen=True)
class PredictOptions(RunOptions):
    """Options of predict."""

    data: File = _option(_ROWS, required=True)
    out: File | None = _option(
        "Output CSV (required): the predicted class and one p_CLASS column per class, or the predicted number."
    )
    keep_columns: Columns | None = _option(_KEEP_COLUMNS, flag="keep-columns", nargs="+")


@dataclass(frozen=True)
class ReconstructOptions(RunOptions):
    """Options of reconstruct."""

    data: File = _option(_ROWS, required=True)
    layer: Count | None = _option(_LAYER)
    out: File | None = _option("Output .csv of the columns, or .npy of the network's inputs (required).")
    keep_columns: Columns | None = _option(_KEEP_COLUMNS, flag="keep-columns", nargs="+")


@dataclass(frozen=True)
class AnomaliesOptions(RunOptions):
    """Options of anomalies."""

    data: File = _option(_ROWS, required=True)
    layer: Count | None = _option("Uppermost layer that takes part, from 1; all when not given.")
    out: File | None = _option("Output CSV (required): the score of each row and one error_COLUMN for each column.")
    keep_columns: Columns | None = _option(_KEEP_COLUMNS, flag="keep-columns", nargs="+")


@dataclass(frozen=True)
class EncodeOptions(RunOptions):
    """Options of encode."""

    data: File = _option(_ROWS, required=True)
    layer: Count | None = _option(_LAYER)
    weights: Weights | None = _option(
        "finetuned or pretrained; by default the fine-tuned weights, where the run has them."
    )
    out: File | None = _option("Output .npy, .parquet or .csv file (required).")


@dataclass(frozen=True)
class ExportOptions(RunOptions):
    """Options of export."""

    format: Format = _option("onnx: with preprocessing; torch: without; hub: a folder for Hugging Face's Hub.", "onnx")
    out: Place | None = _option("File or folder; model.onnx, model.pt2 or hub/ in the run folder when not given.")


@dataclass(frozen=True)
class DataOptions:
    """Options of data."""

    action: DataAction = _positional(
        "list: name the data sets; prepare: fetch or make one; show: draw a sheet of its training examples; check:"
        " report what a table holds and all that training would refuse."
    )
    name: Annotated[str, "the name of a data set, or of a file to check"] | None = _positional(
        "Data set to prepare or show, or file to check.", nargs="?", default=None
    )
    source: Source = _option("Source of an ICML 2007 problem.", "regenerated")
    out: File | None = _option("Picture that show draws (NAME.png when not given), or JSON file that check writes.")
    root: Folder | None = _option("Folder of the data files.", flag="data.root")
    target: ColumnName | None = _option("Column of the class, or of the number to predict (check only).")
    task: Task | None = _option("regression where the target is a number to predict (check only).")
    keep: Columns | None = _option("Columns that are inputs (check only).", flag="data.keep")
    drop: Columns | None = _option("Columns that are left out (check only).", flag="data.drop")
    categorical: Columns | None = _option("Columns of names (check only).", flag="data.categorical")
    scale: Scale | None = _option("minmax or standard (check only).", flag="data.scale")
    split: ColumnName | None = _option(
        "Column that says train, valid or test, or three shares (check only).", flag="data.split"
    )
    stratify: bool | None = _option("Whether each class has the shares (check only).", flag="data.stratify")
    weights: ColumnName | None = _option("Column of the weights of the labels (check only).", flag="data.weights")
    groups: ColumnName | None = _option("Column whose equal values stay together (check only).", flag="data.groups")
    order: ColumnName | None = _option("Column by which the last rows are test rows (check only).", flag="data.order")
    delimiter: Character | None = _option(
        "Character between the fields of a CSV file (check only).", flag="data.delimiter"
    )
    decimal: Decimal | None = _option("Decimal mark of a CSV file, . or , (check only).", flag="data.decimal")
    header: bool | None = _option("Whether a CSV file's first line names its columns (check only).", flag="data.header")
    na_values: list[str] | None = _option("What stands for a missing value (check only).", flag="data.na_values")


@dataclass(frozen=True)
class ReproduceOptions:
    """Options of reproduce."""

    what: Study = _positional(
        "icml2008: the table; filters: first-layer filters against nu (the paper's Figure 3); noise: test error"
        " against nu and depth (the journal's Figures 10 and 11)."
    )
    problems: Annotated[list[str], "names of problems"] | None = _option(
        f"Problems to measure: {', '.join(PROBLEMS)}; all when not given. filters and noise take one.", nargs="+"
    )
    models: Annotated[list[str], "names of models"] | None = _option(
        f"sda-3 and mlp-3 when not given. {'; '.join(f'{name}: {text}' for name, text in MODELS.items())}.", nargs="+"
    )
    preset: Preset | None = _option(
        "quick: for an evening on two cores (when not given); paper: the journal's ranges, but for the rates; authors:"
        " the first weights and decreasing rates of the paper's own programs."
    )
    budget: Count | None = _option(
        "Configurations tried for each problem and model"
        f" ({', '.join(f'{name} {budget}' for name, budget in BUDGETS.items())}, if not given)."
    )
    seed: Seed = _option("Seed of the search and of every run.", 0)
    source: Source = _option("Source of the problems.", "regenerated")
    out: Folder | None = _option("Folder of the runs and results; under runs/ when not given.")
    root: Folder | None = _option("Folder of the data files.", flag="data.root")


@dataclass(frozen=True)
class CompareOptions:
    """Options of compare."""

    runs: list[str] = _positional("Run folders, folders above them, or patterns of either.", nargs="*")
    wandb: Annotated[str, "ENTITY/PROJECT or ENTITY/PROJECT/GROUP"] | None = _option(
        "Runs of Weights & Biases instead: ENTITY/PROJECT or ENTITY/PROJECT/GROUP."
    )
    sort: Annotated[str, "a column or setting"] | None = _option(
        "valid, test, seconds, name, or a setting; --sort=-test for the reverse."
    )
    out: File | None = _option("Web page to write: table, learning curves, filters.")
    csv: File | None = _option("CSV file to write.")
    report: bool = _option("With --wandb: write a report on the site too (extra: report).", False)


@dataclass(frozen=True)
class SweepOptions:
    """Options of sweep."""

    file: File = _positional("Sweep file of Weights & Biases, which `wandb sweep` takes too.")
    local: Count | None = _option("Trials to run here; a grid may have fewer.")
    seed: Seed = _option("Seed of the draws of a random sweep.", 0)
    out: Folder | None = _option("Folder of the search; runs/sweep-FILE when not given.")
    workers: Count = _option("Processes that train trials at the same time.", 1)


@dataclass(frozen=True)
class RunsOptions:
    """Options of runs."""

    action: Literal["list", "show", "clean"] = _positional("List the runs, show one, or clean the stores of layers.")
    folder: Folder = _positional("Folder of runs, searches and stores of layers.")
    dry_run: bool = _option("Say what would be removed, and remove nothing.", False, flag="dry-run")


@dataclass(frozen=True)
class CompletionOptions:
    """Options of completion."""

    shell: Shell = _positional(
        "The shell. It reads the script from a file, such as ~/.local/share/bash-completion/completions/stacked-dae for"
        " bash."
    )


@dataclass(frozen=True)
class Command:
    """A command of the command line: what ``--help`` says of it, and its options."""

    help: str
    options: type


TRAINING_COMMANDS: Mapping[str, Command] = {
    "fit": Command("pre-train each layer, fine-tune the stack, test it once", PretrainOptions),
    "pretrain": Command("pre-train each layer", PretrainOptions),
    "finetune": Command("fine-tune and test the layers of an earlier run (--pretrained RUN)", FinetuneOptions),
    "search": Command("search for the best settings by trials that share layers (--space FILE)", SearchOptions),
}
"""The commands that take the settings of an experiment."""
OTHER_COMMANDS: Mapping[str, Command] = {
    "summary": Command("print a run: data, layers, stages, result", RunOptions),
    "evaluate": Command("compute the test error of a finished run again, or test it on new rows", EvaluateOptions),
    "baselines": Command(
        "test what a run should beat on its rows: logistic regression, SVM, gradient boosting, MLP", RunDataOptions
    ),
    "plot": Command("draw the figures of a run", RunDataOptions),
    "predict": Command(
        "predict class and probabilities, or the number, of each row of a file (--data FILE --out preds.csv)",
        PredictOptions,
    ),
    "encode": Command(
        "compute the codes of each row of a file (--data FILE --layer K --out codes.parquet)", EncodeOptions
    ),
    "reconstruct": Command(
        "rebuild each row of a file by the pre-trained layers (--data FILE --out rebuilt.csv)", ReconstructOptions
    ),
    "anomalies": Command(
        "say how unusual each row of a file is, and by which columns (--data FILE --out scores.csv)", AnomaliesOptions
    ),
    "export": Command("export a run's model: ONNX, torch.export, or for the Hub (--format onnx)", ExportOptions),
    "reproduce": Command(
        "measure the paper's Table 1 again (reproduce icml2008), or its figures (filters, noise)", ReproduceOptions
    ),
    "compare": Command("compare runs: a table, and a page (--out report.html)", CompareOptions),
    "sweep": Command("run the trials of a W&B sweep file here, without W&B (--local N)", SweepOptions),
    "runs": Command("list the runs below a folder, or remove shared layers that none needs", RunsOptions),
    "data": Command(
        "check a table (data check FILE), or list, prepare or draw the data sets (list, prepare NAME, show NAME)",
        DataOptions,
    ),
    "completion": Command(
        "print a script by which a shell completes commands, options and settings", CompletionOptions
    ),
}
