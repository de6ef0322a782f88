"""Sweeps without a server: a W&B sweep file (grid or random), its trials run here one after another."""

from __future__ import annotations

from pathlib import Path

from stacked_dae.config.identity import fingerprint
from stacked_dae.config.schema import Config
from stacked_dae.errors import DivergedError, StageError
from stacked_dae.pipeline.api import fit
from stacked_dae.runs.folder import RunFolder
from stacked_dae.runs.layer_store import LayerStore
from stacked_dae.tuning.sampling import sample_configs
from stacked_dae.tuning.search import selection_score
from stacked_dae.tuning.sweep_file import SweepSpec
from stacked_dae.utils.progress import Reporter


def run_sweep(sweep: SweepSpec, count: int, seed: int, out: Path, reporter: Reporter) -> list[RunFolder]:
    """Train each trial in a run folder of its own below ``out``, test the best, and return them all.

    Trials share the layers that they have in common, which lie in ``out/layers``.

    The best has the lowest validation error; among equals, the lowest validation loss. The same call resumes one
    that was cut; one with a larger ``count`` begins with the trials of a smaller one, and tests its own best too. A
    trial that diverges is left behind.

    Raises:
        ConfigError: a trial's settings are not valid; nothing was written.
        StageError: every trial diverged.
    """
    configs = list({fingerprint(config): config for config in sample_configs(sweep, count, seed)}.items())
    done: list[tuple[Config, RunFolder]] = []
    shared = LayerStore(out / "layers", reporter.say)
    for k, (mark, config) in enumerate(configs, 1):
        folder = out / f"trial_{mark[:8]}"
        reporter.say(f"trial {k} of {len(configs)}: {folder}")
        try:
            done.append((config, fit(config, folder, reporter=reporter, test=False, layers=shared)))
        except DivergedError as failure:
            reporter.say(str(failure))
    if shared.taken:
        count_text = f"{shared.taken} layer{'s were' if shared.taken > 1 else ' was'} shared between trials"
        reporter.say(f"{count_text}, which saved {shared.seconds_saved:.1f} s of training")
    if not done:
        raise StageError(f"{out}: every trial diverged; lower the learning rates in {sweep.file}")
    config, best = min(done, key=lambda trial: selection_score(trial[1]))
    fit(config, best.path, reporter=reporter)
    return [RunFolder.open(folder.path) for _, folder in done]
