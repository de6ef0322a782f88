"""Reading options of a table's files; a part of the model, since its later rows are read alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stacked_dae.utils.type_hints import matches_type

_KINDS: dict[str, Any] = {
    "delimiter": str | None,
    "decimal": str | None,
    "header": bool,
    "na_values": list[str],
    "colours": bool,
    "commas": bool,
}


@dataclass(frozen=True)
class Reading:
    """Reading options of a table's files, where they are not found in the file anew.

    Args:
        delimiter, decimal: of a CSV file; None to find them in it.
        header: whether the first line of a CSV file names the columns.
        na_values: texts and numbers that stand for a missing value, beside those that do anyway.
        colours: whether images of a folder are read as RGB.
        commas: whether the file that a model was trained on was found to have decimal commas.
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool = True
    na_values: tuple[str, ...] = ()
    colours: bool = False
    commas: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are not at their default, as plain values, for JSON."""
        default = asdict(Reading())
        found = {name: value for name, value in asdict(self).items() if value != default[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    @staticmethod
    def from_dict(values: Any) -> Reading:
        """Return the Reading of :meth:`to_dict`.

        Raises:
            ValueError: ``values`` are not those of a Reading.
        """
        if not isinstance(values, dict) or not all(
            name in _KINDS and matches_type(_KINDS[name], value) for name, value in values.items()
        ):
            raise ValueError("its reading is damaged")
        return Reading(**{**values, "na_values": tuple(values.get("na_values", ()))})
