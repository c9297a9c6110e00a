"""The names of cards: the text of a note's fields, readable LaTeX, or the file of an image or sound."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rwkv.data.imports.anki.archive import opened
from rwkv.data.imports.anki.note_names import note_name, plain_text
from rwkv.data.imports.anki.read import read_anki
from rwkv.data.imports.imported import ImportChoices
from tests.data.imports.anki.small import CREATED_S, write_collection_file


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("<div>der&nbsp;K&auml;se</div><br>", "der Käse"),
        ("a<br>b\n\t c", "a b c"),
        ("<style>.a { color: red }</style>x<!-- y -->", "x"),
        ("{{c1::Paris::city}} is in {{c2::France}}", "Paris is in France"),
        ("[sound:a b.mp3]<img src='x.png'>", ""),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("&lt;b&gt; is bold", "<b> is bold"),
        ("<b " + "x" * 5000, ""),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 80, "x" * 80),
    ],
)
def test_plain_text(field: str, text: str) -> None:
    assert plain_text(field) == text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (r"\(\frac{a+b}{2} \leq \sqrt{x}\)", "(a+b)/2 ≤ √x"),
        (r"[latex]\begin{align}E = mc^{2}\end{align}[/latex]", "E = mc^2"),
        (r"[$]\alpha \to \Omega[/$]", "α → Ω"),
        (r"\[\text{rate} = \frac{\partial c}{\partial t}\]", "rate = (∂ c)/(∂ t)"),
        (r"\(\mathbf{v}_{max}\) &lt; 3", "v_max < 3"),
        (r"{{c1::\(x^2\)}} is {{c2::a {{c3::square}}}}", "x^2 is a square"),
        (r"costs $5 \ C:\temp", r"costs $5 \ C:\temp"),  # nothing says that this is LaTeX
    ],
)
def test_latex(field: str, text: str) -> None:
    assert plain_text(field) == text


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (["front", "back"], "front"),
        (["<img src='leaf.png'>", "<i>oak</i>", "more"], "oak"),
        (["[sound:der.mp3]", "", '<img src="a b.jpg" alt=x>'], "a b.jpg"),
        (["<div><IMG class='x' SRC=paste-1f.jpg></div>", "<br>"], "paste-1f.jpg"),
        (["", "[sound:caf\u00e9.ogg]"], "caf\u00e9.ogg"),
        (["<img src='data:image/png;base64,iVBORw0'>", ""], ""),
        (["<img src='" + "x" * 90 + ".png'>"], "x" * 79 + "\u2026"),
        (["{{c1::image-occlusion:rect:left=.1:top=.2}}<br>", "<img src=map.png>", "Header"], "Header"),
        (["{{c1::image-occlusion:rect:left=.1:top=.2}}<br>", "<img src=map.png>", ""], "map.png"),
        (["0123456789abcdef0123456789abcdef-oa-1", "The heart"], "The heart"),
        ([""], ""),
    ],
)
def test_names(fields: list[str], name: str) -> None:
    assert note_name("\x1f".join(fields)) == name


def test_names_and_tags_are_those_of_the_cards(tmp_path: Path) -> None:
    path = write_collection_file(tmp_path / "a.anki2", [(CREATED_S * 1000 + card, card, 3, 0) for card in (11, 21, 31)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "UPDATE notes SET flds = '<img src=a.png>' || char(31) || 'leaf', tags = ' b::c  a ' WHERE id = 12"
        )
        database.execute("UPDATE notes SET tags = NULL WHERE id = 22")
        database.execute("DELETE FROM notes WHERE id = 32")
    with opened(path) as source:
        cards = read_anki(source, ImportChoices(), by_anki=False).card_list
    assert cards.note.tolist() == ["leaf", "note 21", ""]
    assert cards.tags is not None
    assert cards.tags.tolist() == [" b::c a ", "", ""]
