"""Formulas as MathML, which browsers draw themselves: no script, and nothing fetched from elsewhere."""

from __future__ import annotations

from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def draw(display: str) -> Any:
    """What writes a node of mathematics, ``"inline"`` or ``"block"``."""

    def visit(translator: Any, node: Any) -> None:
        formula = convert(node.astext().strip(), display=display)
        tag = "span" if display == "inline" else "div"
        translator.body.append(f'<{tag} class="math {display}">{formula}</{tag}>')
        raise SkipNode

    return visit


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry."""
    app.add_html_math_renderer("mathml", (draw("inline"), None), (draw("block"), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
