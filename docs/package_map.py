"""Draw the packages and the arrows between them, as the imports are: python docs/package_map.py

Writes docs/images/packages.svg. tests/test_architecture.py holds that the picture is up to date.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "stacked_dae"
PICTURE = ROOT / "docs" / "images" / "packages.svg"
_WIDTH, _ROW, _BOX, _HEIGHT = 1000, 62, 128, 34


def packages() -> dict[str, str]:
    """Return what each package is for, by name: the first line of its docstring."""
    inits = {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}
    return {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0] for name, path in inits.items()
    }


def arrows() -> dict[str, set[str]]:
    """Return the packages that each package imports from."""
    found: dict[str, set[str]] = {name: set() for name in packages()}
    for path in PACKAGE.glob("*/**/*.py"):
        own = path.relative_to(PACKAGE).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stacked_dae."):
                other = (node.module or "").split(".")[1]
                if other in found and other != own:
                    found[own].add(other)
    return found


def _reachable(name: str, edges: dict[str, set[str]]) -> set[str]:
    return {name}.union(*(_reachable(other, edges) for other in edges[name]))


def needed_arrows(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows that do not follow from others: where a → b → c, a → c is left out."""
    return {
        name: {b for b in below if not any(b in _reachable(c, edges) for c in below - {b})}
        for name, below in edges.items()
    }


def rows(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the packages row by row, each below all that import it."""

    def depth(name: str) -> int:
        return 1 + max((depth(other) for other in edges[name]), default=0)

    depths = {name: depth(name) for name in edges}
    return [sorted(name for name in edges if depths[name] == level) for level in range(max(depths.values()), 0, -1)]


def svg() -> str:
    """Return the picture."""
    texts, edges = packages(), arrows()
    places: dict[str, tuple[float, float]] = {}
    parts = []
    table = rows(edges)
    for y, row in enumerate(table):
        for x, name in enumerate(row):
            places[name] = (20 + x * (_BOX + 24), 16 + y * _ROW)
    for name, below in sorted(needed_arrows(edges).items()):
        for other in sorted(below):
            (x, y), (to_x, to_y) = places[name], places[other]
            parts.append(
                f'<line x1="{x + _BOX / 2}" y1="{y + _HEIGHT}" x2="{to_x + _BOX / 2}" y2="{to_y - 4}" stroke="#666"'
                ' marker-end="url(#arrow)"/>'
            )
    for y, row in enumerate(table):
        for name in row:
            left, top = places[name]
            parts.append(
                f'<rect x="{left}" y="{top}" width="{_BOX}" height="{_HEIGHT}" rx="6" fill="#eef4fb" stroke="#36c"/>'
                f'<text x="{left + _BOX / 2}" y="{top + 22}" text-anchor="middle" font-weight="600">{name}</text>'
            )
        # Right of every box, so that no arrow crosses a text.
        text_left = 20 + max(map(len, table)) * (_BOX + 24)
        for k, name in enumerate(row):
            prefix = f"{name}: " if len(row) > 1 else ""
            top = 16 + y * _ROW + (22 if len(row) == 1 else 13 + 17 * k)
            parts.append(f'<text x="{text_left}" y="{top}" font-size="12.5">{escape(prefix + texts[name])}</text>')
    height = 16 + len(table) * _ROW
    size = f'width="{_WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {size}'
            ' font-family="system-ui, sans-serif" font-size="14">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
            ' orient="auto"><path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>',
            f'<rect {size} fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(svg())
    print(PICTURE.relative_to(ROOT))
