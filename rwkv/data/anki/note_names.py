"""The fields of a note -> what people know its cards by."""

import html
import itertools
import re

from rwkv.data.anki.latex import LATEX_MARKS, readable_latex

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
