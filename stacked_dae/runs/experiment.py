"""An experiment as one value: settings, data, the layers that it starts from, and custom components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacked_dae.config.schema import Config
from stacked_dae.data.dataset import Dataset
from stacked_dae.runs.fingerprints import stage_fingerprints
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.stage_names import FINETUNE, stage_name

if TYPE_CHECKING:
    # Comparisons read run folders without waiting for torch.
    from stacked_dae.nn.components import Components


@dataclass(frozen=True)
class Stage:
    """A stage: ``layer_1`` … ``layer_K`` or ``finetune``; ``parts`` are the user's that can change its training."""

    name: str
    fingerprint: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Everything that decides what a command trains in one run folder.

    Args:
        config: the settings.
        data: the data set.
        parent: the run folder whose layers are fine-tuned; None to train layers here.
        components: what replaces the configured corruption, loss or layer class.
        parts: stage → what the user's callbacks and Trainer arguments that can change its training are called.
    """

    config: Config
    data: Dataset
    parent: RunFolder | None = None
    components: Components | None = None
    parts: Callable[[str], Sequence[str]] = lambda stage: ()

    @property
    def component_names(self) -> str | None:
        """The name of the custom components, as it is hashed and kept in the manifest; None without any."""
        return self.components.name if self.components is not None else None

    @property
    def parent_fingerprint(self) -> str | None:
        """The fingerprint of the parent run's last layer; None without a parent."""
        if self.parent is None:
            return None
        return self.parent.stage(stage_name(len(self.config.layers()))).fingerprint

    def stages(self, *, finetune: bool) -> list[Stage]:
        """Return the stages in order, without those of layers that the parent has or the model never pre-trains."""
        found = stage_fingerprints(
            self.config, self.data.fingerprint, self.parent_fingerprint, self.component_names, self.parts
        )
        return [
            Stage(name, value, tuple(self.parts(name))) for name, value in found.items() if finetune or name != FINETUNE
        ]
