"""The name of a note's cards, from its fields."""

import html
import itertools
import re
import unicodedata

SEPARATOR = "\x1f"

# Only the beginning of a field is read, so that fields of megabytes cost little.
_FIELD_CHARACTERS = 2000
_NAME_CHARACTERS = 80

# Markup and sounds in a field's HTML, and cloze deletions, whose text is kept.
_MARKUP = re.compile(
    r"<(style|script)\b.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)|</?[a-z][^<>]*>?|\[sound:[^\]]*\]|\[anki:[^\]]*\]",
    re.DOTALL | re.IGNORECASE,
)
_CLOZE = re.compile(r"\{\{c\d+::((?:(?!\{\{c\d).)*?)(?:::[^{}]*)?\}\}", re.DOTALL)
# Image occlusions of Anki, and ids of an add-on for them. Neither is text.
_OCCLUSION = re.compile(r"\{\{c\d+::image-occlusion:[^{}]*\}\}|\A[0-9a-f]{32}-[ao]{2}-\d+\w*\Z")
_IMAGE = re.compile(r"""<(?:img|audio|video|source)\b[^<>]*?\bsrc\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>]+)""", re.IGNORECASE)
_SOUND = re.compile(r"\[sound:([^\]]*)\]")

# Anki's marks of LaTeX in a field, for MathJax and for images.
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
# Commands that only change the look of their argument, such as \text and \mathbf.
_STYLE = re.compile(r"\\(?:text|math|operatorname|mbox|boldsymbol|overline|vec|hat|bar|ce|left|right)[a-z]*" + _GROUP)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
# Nested braces are resolved from the inside, up to this depth.
_DEEPEST = 8


def note_name(fields: str) -> str:
    """The text of the first field with text, else the file name of the first image or sound, else "".

    Args:
        fields: The fields as Anki stores them, joined by SEPARATOR.
    """
    parts = [field[:_FIELD_CHARACTERS] for field in fields.split(SEPARATOR)]
    texts = map(plain_text, parts)
    files = (_file_name(kind, part) for kind in (_IMAGE, _SOUND) for part in parts)
    return next(filter(None, itertools.chain(texts, files)), "")


def plain_text(field: str) -> str:
    """A field without HTML, LaTeX, sounds and cloze marks, in one line of at most 80 characters."""
    field = _OCCLUSION.sub("", field)
    while (opened := _CLOZE.sub(r"\1", field)) != field:  # nested clozes, from the inside
        field = opened
    text = html.unescape(_MARKUP.sub(" ", field))
    return _line(readable_latex(text) if LATEX_MARKS.search(text) else text)


def _file_name(kind: re.Pattern[str], field: str) -> str:
    """The file name of a field's first image or sound; "" for an embedded image."""
    match = kind.search(field)
    name = html.unescape(match[1].strip("\"'")) if match else ""
    return "" if name.startswith("data:") else _line(name)


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _NAME_CHARACTERS else text[: _NAME_CHARACTERS - 1] + "…"


def readable_latex(text: str) -> str:
    """Text with known LaTeX commands as readable characters. Unknown commands lose their backslash."""
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
    """Text in parentheses, unless it is a single word or number."""
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
