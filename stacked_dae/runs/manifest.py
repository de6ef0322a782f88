"""The small files of a run folder: what they hold, and whether one is as it was written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from stacked_dae.errors import StageError
from stacked_dae.runs.fingerprints import FINETUNE
from stacked_dae.utils.files import unseal
from stacked_dae.utils.type_hints import fits

# Characters in one of the small files at the most: far beyond any.
_SMALL = 2**24
# How the last line of config.yaml begins, before the checksum of all above it.
_SEAL = "# SHA-256 of the lines above: "
_STAGE = re.compile(r"layer_[1-9]\d{0,3}|finetune")
# What the files hold, by key.
_MANIFEST = {
    "format": int,
    "dataset": dict,
    "parent": str | None,
    "layers": str | None,
    "own": str | None,
    "stages": dict,
}
_DATASET = {"name": str, "inputs": int, "fingerprint": str}
_ENTRY = {"fingerprint": str, "status": Literal["pending", "running", "done"]}
_DONE = {"sha256": str, "metrics_sha256": str, "epochs": int, "seconds": float}
_FINETUNED = {"best_epoch": int, "best_valid_error_percent": float}
_RESULT = {
    "test_error_percent": float,
    "test_error_ci95_percent": float,
    "n_test": int,
    "best_valid_error_percent": float,
    "best_epoch": int,
    "seconds": float,
    "confusion": list[list[int]],
    "weights_sha256": str,
    "test_rows": str,
}


def config_in(whole: str) -> str | None:
    """Return the text of a ``config.yaml`` above its seal, None where that is not as it was written."""
    text = whole.rpartition(_SEAL)[0]
    return text if whole == f"{text}{seal_of(text)}" else None


def seal_of(text: str) -> str:
    """Return the last line of a ``config.yaml`` of this text."""
    return f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def text_of(file: Path) -> str:
    """Return the text of one of the small files; of one that is none the beginning, which will not do."""
    with file.open(errors="replace") as opened:
        return opened.read(_SMALL)


def unsealed(file: Path, text: str, mend: str) -> dict[str, Any]:
    """Return what ``text``, of ``file``, holds."""
    try:
        return unseal(text)
    except ValueError:
        raise StageError(f"{file} is damaged: it is not as it was written; {mend}") from None


def _wrong(values: Any, hints: Mapping[str, Any]) -> str | None:
    """Return the first of these keys whose value does not fit, None where all do, empty for what is no mapping."""
    if not isinstance(values, dict):
        return ""
    return next((name for name, hint in hints.items() if not fits(hint, values.get(name))), None)


def _wrong_part(manifest: dict[str, Any]) -> str | None:
    """Return the dotted key of the first value in a manifest's parts that does not fit, None where all do."""
    wrong = _wrong(manifest["dataset"], _DATASET)
    if wrong is not None:
        return f"dataset.{wrong}"
    for name, entry in manifest["stages"].items():
        wrong = _wrong_stage(name, entry) if _STAGE.fullmatch(name) else ""
        if wrong is not None:
            return f"stages.{name}.{wrong}".rstrip(".")
    return None


def is_done(entry: Mapping[str, Any]) -> bool:
    """Whether a stage of the manifest is done."""
    return entry.get("status") == "done"


def _wrong_stage(name: str, entry: Any) -> str | None:
    done = isinstance(entry, dict) and is_done(entry)
    return _wrong(entry, {**_ENTRY, **(_DONE if done else {}), **(_FINETUNED if done and name == FINETUNE else {})})


def wrong_manifest(values: dict[str, Any]) -> str | None:
    """Return the dotted key of the first value that is not a manifest's, None where all are."""
    wrong = _wrong(values, _MANIFEST)
    return _wrong_part(values) if wrong is None else wrong


def wrong_result(values: dict[str, Any], weights: str | None) -> str | None:
    """Return the first key whose value is not that of a result of these weights, None where all are."""
    wrong = _wrong(values, _RESULT)
    return "weights_sha256" if wrong is None and values["weights_sha256"] != weights else wrong
