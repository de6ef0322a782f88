"""How soon the page of `stacked-dae compare` is there and answers, in Chromium, at three widths.

    python benchmarks/page.py --rounds 5

Copies of three real runs of scikit-learn's digits, each under its own name, ν and rate. Beside the figures (--out) lies
a picture of each page.
"""

from __future__ import annotations

import html as markup
import json
import re
import statistics
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import options, show, write

from stacked_dae import config_from_dict, fit
from stacked_dae.figures.run_figures import draw_run
from stacked_dae.reporting.columns import Compared
from stacked_dae.reporting.comparison import compare
from stacked_dae.reporting.html import page
from stacked_dae.reporting.run_folders import read_run

WIDTHS, COUNTS = (360, 800, 1600), (3, 12, 200)
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --disable-background-networking".split()
# In a frame, since a window is never narrower than 500 pixels. Times are those of the browser's own clock.
FRAME = """<!doctype html><body style="margin:0"><iframe width=%d height=1400 style="border:0" src=page.html></iframe>
<script>addEventListener('load', () => {
  const w = frames[0], d = w.document, seen = {load: w.performance.getEntriesByType('navigation')[0].loadEventEnd};
  const time = (name, act) => { const t = performance.now(); act(); d.body.getBoundingClientRect();
    seen[name] = performance.now() - t; };
  time('sort', () => d.querySelectorAll('#runs th button')[1].click());
  const put = (id, value) => { const e = d.getElementById(id); e.value = value;
    e.dispatchEvent(new w.Event(e.tagName === 'INPUT' ? 'input' : 'change')); };
  time('filter', () => put('filter', 'nu>0.2'));
  time('all', () => put('filter', ''));
  time('colour', () => put('color', 'finetune.optimizer.lr'));
  document.title = JSON.stringify(seen);
});</script>"""


def main() -> None:
    """Make the pages, time them, take their pictures, print and write the figures."""
    chosen = options(__doc__ or "", rounds=5)
    pictures = chosen.out.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        real = real_runs(place)
        for count in COUNTS:
            content = page(compare([copied(real, k) for k in range(count)]))
            (place / "page.html").write_text(content)
            for width in WIDTHS:
                (place / "frame.html").write_text(FRAME % width)
                rounds = [timed(place) for _ in range(chosen.rounds)]
                picture = pictures / f"{count}_runs_{width}.png"
                chromium(place, f"--screenshot={picture.resolve()}", f"--window-size={max(width, 500)},1400")
                medians = {key: round(statistics.median(one[key] for one in rounds), 1) for key in rounds[0]}
                results.append({"runs": count, "width": width, "bytes": len(content.encode()), "ms": medians})
    rows = [
        [str(r["runs"]), str(r["width"]), f"{r['bytes'] / 1e6:.2f}", *(f"{value:.0f}" for value in r["ms"].values())]
        for r in results
    ]
    show("the page of compare", ["runs", "width", "MB", *(f"{key}, ms" for key in results[0]["ms"])], rows)
    write(chosen.out, "page", "cpu", {"rounds": chosen.rounds, "pages": results})


def real_runs(place: Path) -> list[Compared]:
    """Return three trained runs with their pictures."""
    runs = []
    for nu in (0.0, 0.1, 0.4):
        pretrain = {"units": [50, 50, 50], "epochs": 50, "corruption": {"nu": nu}}
        run = fit(config_from_dict({"data": {"name": "digits"}, "pretrain": pretrain}), place / f"nu_{nu}")
        draw_run(run)
        runs.append(read_run(run, pictures=True))
    return runs


def copied(real: list[Compared], k: int) -> Compared:
    """Return the ``k``-th copy of the real runs."""
    run = real[k % len(real)]
    settings = {**run.settings, "pretrain.corruption.nu": round(0.002 * k, 3), "finetune.optimizer.lr": 0.9**k}
    return replace(run, name=f"runs/trial_{k:03d}", settings=settings)


def chromium(place: Path, *flags: str) -> str:
    """Open the frame in Chromium and return what it prints."""
    words = ["chromium", *FLAGS, f"--user-data-dir={place / 'profile'}", *flags, f"file://{place / 'frame.html'}"]
    words.insert(1, "--allow-file-access-from-files")
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout


def timed(place: Path) -> dict[str, float]:
    """Return milliseconds until the page is loaded, and until each change of it is laid out."""
    found = re.search(r"<title>(\{.*?\})</title>", chromium(place, "--dump-dom", "--window-size=1700,1500"))
    assert found, "the page told nothing"
    told: dict[str, float] = json.loads(markup.unescape(found.group(1)))
    return told


if __name__ == "__main__":
    main()
