"""A trained stack for other programs: ONNX, with the preprocessing of a table inside it, or a torch.export program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stacked_dae.data.columns.columns import UNSEEN, NumericColumn, PixelColumn
from stacked_dae.data.columns.preprocessing import Preprocessing
from stacked_dae.data.columns.values import Values
from stacked_dae.errors import ConfigError, StackedDAEError
from stacked_dae.inference.model import StackedDAE
from stacked_dae.nn.activations import ACTIVATIONS
from stacked_dae.nn.mixed_classifier import MixedClassifier, SkipHeads
from stacked_dae.nn.stack import EncoderStack
from stacked_dae.utils.files import write_atomically

TOLERANCE = 1e-5
"""How far an exported model's outputs may lie from ours."""
_OPSET, _ML_OPSET, _IR = 17, 3, 8
_CHECKED = 256


def export_onnx(model: StackedDAE, file: Path) -> float:
    """Write ``model`` as ONNX and return the greatest difference of its outputs from ours over random rows.

    A table's columns are inputs by their names, (N, 1) each: double (NaN for a missing value) or string (empty for a
    missing value; names without surrounding blanks); otherwise the input is ``x``, (N, d) float.
    Outputs: ``class`` (N,) and ``probabilities`` (N, classes), or, of a regression, ``prediction`` (N,) double, or, for
    layers that were never fine-tuned, ``codes`` (N, h); an underscore is appended where a column has that name.

    Raises:
        ConfigError: onnx or onnxruntime is not installed.
        StackedDAEError: the outputs differ by more than :data:`TOLERANCE`; nothing is written.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise ConfigError("--format onnx needs onnx and onnxruntime: pip install 'stacked-dae[export]'") from None
    content = _Graph(model).model().SerializeToString()
    rows = example_rows(model)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = output_names(model)[-1]
    theirs = session.run([name], _feeds(model, rows))[0]
    ours, width = _outputs(model, rows), model.target_column.width if model.target_column is not None else 1.0
    return write_if_close(ours / width, theirs / width, file, content)


def output_names(model: StackedDAE) -> list[str]:
    """Return the names of the outputs, with an underscore appended where a column has the same name."""
    if not model.finetuned:
        names = ["codes"]
    else:
        names = ["class", "probabilities"] if model.target_column is None else ["prediction"]
    return [_free(name, model.columns) for name in names]


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def write_if_close(ours: NDArray[Any], theirs: NDArray[Any], file: Path, content: bytes) -> float:
    """Write ``content`` to ``file`` unless the outputs differ by more than :data:`TOLERANCE`; return the difference.

    Raises:
        StackedDAEError: they do; nothing is written.
    """
    apart = float(np.abs(ours - theirs).max())
    if not apart <= TOLERANCE:
        raise StackedDAEError(
            f"{file}: not written: the exported model's outputs differ from ours by {apart:.1e} (most: {TOLERANCE:.0e})"
        )
    write_atomically(file, lambda target: target.write(content))
    return apart


def _outputs(model: StackedDAE, rows: Any) -> NDArray[Any]:
    if not model.finetuned:
        return model.encode(rows)
    return model.predict_proba(rows) if model.target_column is None else model.predict(rows)


def example_rows(model: StackedDAE) -> Any:
    """Return raw rows drawn at random, with missing values, and values that training had not."""
    draw = np.random.default_rng(0)
    if model.preprocessing is None:
        return draw.random((_CHECKED, len(model.columns)), dtype=np.float32)
    rows: dict[str, Values] = {}
    for column in model.preprocessing.columns:
        missing = draw.random(_CHECKED) < 0.1
        if isinstance(column, NumericColumn):
            ends = (0.0, 1.0) if isinstance(column, PixelColumn) else (-0.2, 1.2)
            spread = draw.standard_normal(_CHECKED) if column.standardised else draw.uniform(*ends, _CHECKED)
            rows[column.name] = np.where(missing, np.nan, column.shift + column.width * spread)
        else:
            names = np.array([*column.values, UNSEEN], object)[draw.integers(0, len(column.values) + 1, _CHECKED)]
            names[missing] = None
            rows[column.name] = names
    return rows


def _feeds(model: StackedDAE, rows: Any) -> dict[str, NDArray[Any]]:
    if model.preprocessing is None:
        return {"x": rows}
    return {
        column.name: rows[column.name][:, None]
        if isinstance(column, NumericColumn)
        else np.array([[value or ""] for value in rows[column.name]], object)
        for column in model.preprocessing.columns
    }


def _other_spellings(values: Sequence[str]) -> dict[str, str]:
    """Return how else programs write these names: pandas' True for true, 4.0 for 4."""
    made: dict[str, str] = {}
    for value in values:
        if value in ("true", "false"):
            made |= {value.capitalize(): value, value.upper(): value}
        elif value.removeprefix("-").isdecimal():
            made[f"{value}.0"] = value
    return {other: value for other, value in made.items() if other not in values}


class _Graph:
    """Builder of the graph, node by node."""

    def __init__(self, model: StackedDAE) -> None:
        self._model = model
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._count = 0

    def model(self) -> Any:
        """Return the ONNX model."""
        from onnx import TensorProto, checker, helper

        preprocessing = self._model.preprocessing
        names = output_names(self._model)
        x = self._plain_input() if preprocessing is None else self._table_input(preprocessing)
        stack = self._model.stack
        y = x
        for encoder in stack.layers:
            y = self._layer(y, encoder.weight.t(), encoder.bias, encoder.activation)
        target = self._model.target_column
        if self._model.finetuned and target is not None:
            outputs = [self._prediction(y, stack, target, names[0])]
        elif self._model.finetuned:
            answer, probabilities = names
            if isinstance(stack, MixedClassifier):
                scores = self._mixture(x, y, stack)
                self._add("Identity", [scores], probabilities)
            else:
                scores = self._affine(y, stack.head.weight.t(), stack.head.bias)
                self._add("Softmax", [scores], probabilities, axis=1)
            label = self._add("ArgMax", [scores], axis=1, keepdims=0)
            classes = self._model.classes
            text = isinstance(classes[0], str)
            named = np.array([name.encode() for name in classes], object) if text else np.array(classes, np.int64)
            self._add("Gather", [self._constant(named), label], answer)
            outputs = [
                helper.make_tensor_value_info(answer, TensorProto.STRING if text else TensorProto.INT64, ["N"]),
                helper.make_tensor_value_info(probabilities, TensorProto.FLOAT, ["N", len(classes)]),
            ]
        else:
            self._add("Identity", [y], names[0])
            outputs = [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["N", stack.widths[-1]])]
        graph = helper.make_graph(self._nodes, "stacked_dae", self._inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        made = helper.make_model(graph, producer_name="stacked-dae", opset_imports=opsets, ir_version=_IR)
        checker.check_model(made)
        return made

    def _prediction(self, y: str, stack: EncoderStack | MixedClassifier, target: NumericColumn, name: str) -> Any:
        """Add the predicted number, in the units of the target; return what describes the output."""
        from onnx import TensorProto, helper

        assert isinstance(stack, EncoderStack)
        standardised = self._affine(y, stack.head.weight.t(), stack.head.bias)
        number = self._add("Cast", [standardised], to=TensorProto.DOUBLE)
        number = self._add("Mul", [number, self._constant(np.array(target.width))])
        number = self._add("Add", [number, self._constant(np.array(target.shift))])
        self._add("Reshape", [number, self._constant(np.array([-1]))], name)
        return helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N"])

    def _name(self) -> str:
        self._count += 1
        return _free(f"node_{self._count}", self._model.columns)

    def _constant(self, value: NDArray[Any]) -> str:
        from onnx import TensorProto, helper, numpy_helper

        name = self._name()
        if value.dtype == object:
            self._constants.append(helper.make_tensor(name, TensorProto.STRING, value.shape, list(value)))
        else:
            self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _add(self, kind: str, inputs: list[str], output: str | None = None, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or self._name()
        self._nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def _affine(self, x: str, weight: Tensor, bias: Tensor) -> str:
        return self._add("Gemm", [x, *(self._constant(np.ascontiguousarray(part.numpy())) for part in (weight, bias))])

    def _layer(self, x: str, weight: Tensor, bias: Tensor, activation: str) -> str:
        return self._add(ACTIVATIONS[activation].onnx, [self._affine(x, weight, bias)])

    def _heads(self, x: str, y: str, heads: SkipHeads, which: slice, shares: Tensor) -> str:
        """Add the probabilities of some of the heads, each times its share."""
        on_x, on_y, bias = heads.input_weight[which], heads.code_weight[which], heads.bias[which]
        count, classes = bias.shape
        logits = [
            self._add("MatMul", [rows, self._constant(np.ascontiguousarray(weight.transpose(0, 1).flatten(1).numpy()))])
            for rows, weight in ((x, on_x), (y, on_y))
        ]
        both = self._add("Add", [self._add("Add", logits), self._constant(bias.flatten().numpy())])
        each = self._add("Reshape", [both, self._constant(np.array([-1, count, classes]))])
        shared = self._add("Mul", [self._add("Softmax", [each], axis=2), self._constant(shares[:, None].numpy())])
        return self._add("ReduceSum", [shared, self._constant(np.array([1]))], keepdims=0)

    def _mixture(self, x: str, y: str, mixed: MixedClassifier) -> str:
        """Add the probabilities of a mixed classifier."""
        total = self._heads(x, y, mixed.heads, slice(None), mixed.shares[:-1])
        members = mixed.members
        if members is None:
            return total
        count = len(members.heads.bias)
        for m in range(count):
            codes = x
            for weight, bias, activation in zip(members.weights, members.biases, members.activations, strict=True):
                codes = self._layer(codes, weight[m], bias[m], activation)
            member = self._heads(x, codes, members.heads, slice(m, m + 1), mixed.shares[-1:] / count)
            total = self._add("Add", [total, member])
        return total

    def _input(self, name: str, kind: int, width: int) -> str:
        from onnx import helper

        self._inputs.append(helper.make_tensor_value_info(name, kind, ["N", width]))
        return name

    def _plain_input(self) -> str:
        from onnx import TensorProto

        return self._input("x", TensorProto.FLOAT, len(self._model.columns))

    def _table_input(self, preprocessing: Preprocessing) -> str:
        from onnx import TensorProto

        parts = []
        for column in preprocessing.columns:
            if isinstance(column, NumericColumn):
                x = self._input(column.name, TensorProto.DOUBLE, 1)
                scaled = self._add("Sub", [x, self._constant(np.array(column.shift))])
                scaled = self._add("Div", [scaled, self._constant(np.array(column.width))])
                if not column.standardised:
                    ends = [self._constant(np.array(end)) for end in (0.0, 1.0)]
                    scaled = self._add("Clip", [scaled, *ends])
                filled = self._add("Where", [self._add("IsNaN", [x]), self._constant(np.array(0.0)), scaled])
                parts.append(self._add("Cast", [filled], to=TensorProto.FLOAT))
            else:
                x = self._input(column.name, TensorProto.STRING, 1)
                width = len(column.values)
                # After the names come other ways to write them, and last a missing value, which is 0 everywhere.
                others = _other_spellings(column.values)
                places = [value.encode() for value in [*column.values, *others, ""]]
                one_hot = self._add("OneHotEncoder", [x], domain="ai.onnx.ml", cats_strings=places, zeros=1)
                one_hot = self._add("Reshape", [one_hot, self._constant(np.array([-1, len(places)]))])
                any_of = self._add("ReduceSum", [one_hot, self._constant(np.array([1]))], keepdims=1)
                unseen = self._add("Sub", [self._constant(np.array(1.0, np.float32)), any_of])
                named = np.zeros((len(places), width), np.float32)
                named[range(width), range(width)] = 1.0
                for k, value in enumerate(others.values(), width):
                    named[k, column.values.index(value)] = 1.0
                parts += [self._add("MatMul", [one_hot, self._constant(named)]), unseen]
        return self._add("Concat", parts, axis=1)
