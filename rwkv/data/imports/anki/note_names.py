"""The fields of a note -> what people know its cards by."""

import html
import itertools
import re
import unicodedata

SEPARATOR = "\x1f"

# More of a field than this is not looked at, so that a field of megabytes costs nothing.
_FIELD_CHARACTERS = 2000
_NAME_CHARACTERS = 80

# What a field's HTML has around its words: markup, sounds, and cloze deletions, of which the text in them stays.
_MARKUP = re.compile(
    r"<(style|script)\b.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)|</?[a-z][^<>]*>?|\[sound:[^\]]*\]|\[anki:[^\]]*\]",
    re.DOTALL | re.IGNORECASE,
)
_CLOZE = re.compile(r"\{\{c\d+::((?:(?!\{\{c\d).)*?)(?:::[^{}]*)?\}\}", re.DOTALL)
# Where a part of an image is hidden, as Anki writes it, and the ids of an add-on for that. Neither is text.
_OCCLUSION = re.compile(r"\{\{c\d+::image-occlusion:[^{}]*\}\}|\A[0-9a-f]{32}-[ao]{2}-\d+\w*\Z")
_IMAGE = re.compile(r"""<(?:img|audio|video|source)\b[^<>]*?\bsrc\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>]+)""", re.IGNORECASE)
_SOUND = re.compile(r"\[sound:([^\]]*)\]")

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


def note_name(fields: str) -> str:
    """The first field with text, else the first image's or sound's file name; "" where there is none of these.

    fields: as Anki stores them, separated by SEPARATOR.
    """
    parts = [field[:_FIELD_CHARACTERS] for field in fields.split(SEPARATOR)]
    texts = map(plain_text, parts)
    files = (_file_name(kind, part) for kind in (_IMAGE, _SOUND) for part in parts)
    return next(filter(None, itertools.chain(texts, files)), "")


def plain_text(field: str) -> str:
    """A field without its HTML, LaTeX, sounds and cloze marks, in one line of at most 80 characters."""
    field = _OCCLUSION.sub("", field)
    while (opened := _CLOZE.sub(r"\1", field)) != field:  # clozes within clozes, from the inside
        field = opened
    text = html.unescape(_MARKUP.sub(" ", field))
    return _line(readable_latex(text) if LATEX_MARKS.search(text) else text)


def _file_name(kind: re.Pattern[str], field: str) -> str:
    """The name of a field's first file of a kind; images that lie in the field itself have none."""
    match = kind.search(field)
    name = html.unescape(match[1].strip("\"'")) if match else ""
    return "" if name.startswith("data:") else _line(name)


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _NAME_CHARACTERS else text[: _NAME_CHARACTERS - 1] + "…"


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
