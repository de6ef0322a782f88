"""A trained stack for other programs: ONNX and torch.export."""
