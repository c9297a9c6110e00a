"""Every citation of the specification leads to a part in docs/spec, and to the section, step or column it names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SPEC = REPOSITORY / "docs" / "spec"
FOLDERS = ("rwkv", "tests", "bench", "recipes", "docs")
SUFFIXES = {".py", ".cpp", ".h", ".md", ".toml", ".js"}

RANGE = r"(?:step|column)s? \d+(?: (?:to|and) \d+)?"
PLACES = rf'(?:,? (?:and )?(?:"[^"]+"|{RANGE}))*'
CITATION = re.compile(
    rf"\bspec (?P<part>\d+)(?: and (?P<other>\d+))?(?P<places>{PLACES})(?P<rest>, (?!spec \d))?", re.IGNORECASE
)


@dataclass(frozen=True)
class Part:
    """What a part of the specification offers to citations."""

    headings: set[str]
    steps: set[int]
    columns: set[int]


def read_part(path: Path) -> Part:
    text = path.read_text()
    rows = re.findall(r"^\| (\d+)(?:(?:,| to) (\d+))? \|", text, re.MULTILINE)
    return Part(
        headings=set(re.findall(r"^##+ (.+)$", text, re.MULTILINE)),
        steps={int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)},
        columns={number for first, last in rows for number in range(int(first), int(last or first) + 1)},
    )


PARTS = {int(path.name.split("-")[0]): read_part(path) for path in SPEC.glob("[0-9]*-*.md")}


def sources() -> Iterator[Path]:
    """The files that may cite, but for this one, which holds citations that lead nowhere."""
    yield REPOSITORY / "README.md"
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in SUFFIXES and path != Path(__file__).resolve():
                yield path


def citations(text: str) -> list[re.Match[str]]:
    """All citations in a file; one may go on in the next line, also of a comment."""
    return list(CITATION.finditer(re.sub(r"\s*\n\s*(?:#|//|\*)?\s*", " ", text)))


def fault(citation: re.Match[str]) -> str:
    """Why a citation leads nowhere; "" where it does lead somewhere."""
    numbers = [int(number) for number in citation.group("part", "other") if number]
    if unknown := [number for number in numbers if number not in PARTS]:
        return f"no part {unknown[0]}"
    if citation["rest"]:
        return "after a comma comes a heading in quotes, a step or a column"
    part, places = PARTS[numbers[-1]], citation["places"]
    headings = set(re.findall(r'"([^"]+)"', places))
    if headings - part.headings:
        return f"no heading {sorted(headings - part.headings)}"
    for kind, offered in (("step", part.steps), ("column", part.columns)):
        bounds = re.findall(rf"{kind}s? (\d+)(?: (?:to|and) (\d+))?", places)
        if not {int(number) for pair in bounds for number in pair if number} <= offered:
            return f"no such {kind}"
    return ""


def test_the_specification_has_all_parts() -> None:
    assert sorted(PARTS) == list(range(1, 9))
    assert all(part.headings for part in PARTS.values())


def test_citations_resolve() -> None:
    cited = [(path, citation) for path in sources() for citation in citations(path.read_text())]
    assert len(cited) > 50, "the pattern no longer finds the citations"
    faults = [
        f"{path.relative_to(REPOSITORY)}: {result[0]!r}: {why}" for path, result in cited if (why := fault(result))
    ]
    assert faults == []


@pytest.mark.parametrize(
    "text",
    [
        "spec 9",
        "spec 1 and 9",
        'spec 4, "No such heading"',
        'spec 4, "Layer" and "No such heading"',
        "spec 4, a form worth using",
        "spec 2, step 13",
        "spec 2, steps 1 to 13",
        "spec 3, column 25",
        "Source: spec 8,\n    # spec 9",
    ],
)
def test_unresolved_citations_are_detected(text: str) -> None:
    assert any(map(fault, citations(text)))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('(spec 4, "Token shift" and "Layer")', 1),
        ("(spec 1 and 3), and more", 1),
        ("spec 2, steps 1 to 11; Spec 7: a bound", 2),
        ("spec 3, columns 1 to 24. spec 3,\n    // spec 8.", 3),
        ("stream(SPEC), spec.heads", 0),
    ],
)
def test_resolved_citations_pass(text: str, count: int) -> None:
    result = citations(text)
    assert len(result) == count
    assert not any(map(fault, result))
