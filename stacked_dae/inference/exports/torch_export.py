"""Export as a torch.export program."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from stacked_dae.inference.exports.onnx_export import example_rows, write_if_close
from stacked_dae.inference.model import StackedDAE


def export_torch(model: StackedDAE, file: Path) -> float:
    """Write the network of ``model`` as a torch.export program; return how far its outputs lie from ours at the most.

    It takes inputs as the network does, (N, d) float32, NaN where a table's value is missing: the format holds no
    names, so a table's scaling and one-hot columns stay outside (:meth:`StackedDAE.inputs_of`). It returns the
    probabilities, (N, classes), or, of a regression, the predicted numbers, (N,) float64, or, of layers that were never
    fine-tuned, the codes, (N, h).

    Raises:
        StackedDAEError: the outputs differ by more than :data:`TOLERANCE`; nothing is written.
    """
    inputs = model.inputs_of(example_rows(model))
    network = _Network(model).eval()
    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(network, (torch.from_numpy(inputs[:3]),), dynamic_shapes=({0: rows},))
    content = io.BytesIO()
    torch.export.save(program, content)
    theirs = torch.export.load(io.BytesIO(content.getvalue())).module()(torch.from_numpy(inputs)).numpy()
    target = model.target_column
    if not model.finetuned:
        return write_if_close(model.codes_of(inputs), theirs, file, content.getvalue())
    if target is None:
        return write_if_close(model.probabilities_of(inputs), theirs, file, content.getvalue())
    return write_if_close(model.numbers_of(inputs) / target.width, theirs / target.width, file, content.getvalue())


class _Network(nn.Module):
    def __init__(self, model: StackedDAE) -> None:
        super().__init__()
        self.stack, self.finetuned, self.target = model.stack, model.finetuned, model.target_column

    def forward(self, x: Tensor) -> Tensor:
        if self.finetuned and self.target is not None:
            outputs: Tensor = self.stack(x)
            return outputs[:, 0].double() * self.target.width + self.target.shift
        return self.stack(x).softmax(1) if self.finetuned else self.stack.codes(x)[-1]
