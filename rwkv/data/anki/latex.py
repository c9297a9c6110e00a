"""LaTeX in a note -> what can be read in one line: \\frac{a}{b} becomes a/b, \\alpha becomes α."""

import re
import unicodedata

# How Anki marks LaTeX in a field, for MathJax and for images.
LATEX_MARKS = re.compile(r"\\\(|\\\[|\[\$\$?\]|\[latex\]|\$\$", re.IGNORECASE)
_MARKS = re.compile(r"\\[()\[\]]|\[/?\$\$?\]|\[/?latex\]|\$\$?|\\(?:begin|end)\{[^{}]*\}", re.IGNORECASE)

_SIGNS = {
    "times": "×",
    "cdot": "·",
    "div": "÷",
    "pm": "±",
    "le": "≤",
    "leq": "≤",
    "ge": "≥",
    "geq": "≥",
    "ne": "≠",
    "neq": "≠",
    "approx": "≈",
    "equiv": "≡",
    "to": "→",
    "rightarrow": "→",
    "Rightarrow": "⇒",
    "leftarrow": "←",
    "iff": "⇔",
    "implies": "⇒",
    "infty": "∞",
    "sum": "∑",
    "prod": "∏",
    "int": "∫",
    "partial": "∂",
    "nabla": "∇",
    "in": "∈",
    "notin": "∉",
    "subset": "⊂",
    "cup": "∪",
    "cap": "∩",
    "forall": "∀",
    "exists": "∃",
    "circ": "°",
    "ldots": "…",
    "dots": "…",
    "quad": " ",
    "qquad": " ",
}
_GROUP = r"\s*\{([^{}]*)\}"
_FRACTION = re.compile(r"\\[dt]?frac" + _GROUP + _GROUP)
_ROOT = re.compile(r"\\sqrt" + _GROUP)
# A command that only changes how its argument looks, such as \text or \mathbf.
_STYLE = re.compile(r"\\(?:text|math|operatorname|mbox|boldsymbol|overline|vec|hat|bar|ce|left|right)[a-z]*" + _GROUP)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
# Braces within braces are opened from the inside; deeper ones are left as they are.
_DEEPEST = 8


def readable_latex(text: str) -> str:
    """The same text with what is known of LaTeX written as people read it; what is not known loses its backslash."""
    text = _MARKS.sub(" ", text)
    for _ in range(_DEEPEST):
        simpler = _FRACTION.sub(lambda match: f"{_joined(match[1])}/{_joined(match[2])}", text)
        simpler = _STYLE.sub(r"\1", _ROOT.sub(lambda match: f"√{_joined(match[1])}", simpler))
        simpler = re.sub(r"([_^])\{([^{}]*)\}", lambda match: match[1] + _joined(match[2]), simpler)
        if simpler == text:
            break
        text = simpler
    text = _COMMAND.sub(lambda match: _sign(match[1]), re.sub(r"\\[,;:! ]", " ", text))
    return re.sub(r"[{}]", "", text.replace("\\\\", " "))


def _joined(text: str) -> str:
    """In parentheses where it is more than one word or number."""
    text = text.strip()
    return text if re.fullmatch(r"\\?\w*", text) else f"({text})"


def _sign(command: str) -> str:
    if command in _SIGNS:
        return _SIGNS[command]
    size = "CAPITAL" if command[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {command.upper()}")
    except KeyError:
        return "" if command in ("left", "right") else command
