"""What the user said of how a table's text is read; a part of the model, since its later rows are written alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stacked_dae.utils.type_hints import matches_type

_KINDS: dict[str, Any] = {"delimiter": str | None, "decimal": str | None, "header": bool, "na_values": list[str]}


@dataclass(frozen=True)
class Reading:
    """What was said of how a table's text is read.

    Args:
        delimiter, decimal: of a CSV file; None to find them in it.
        header: whether the first line of a CSV file names the columns.
        na_values: what stands for a missing value, beside what does anyway.
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool = True
    na_values: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what was said, as plain values, for JSON."""
        default = asdict(Reading())
        said = {name: value for name, value in asdict(self).items() if value != default[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}

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
