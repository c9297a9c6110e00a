"""The name of a collection, and its kind from the name of its file."""

from pathlib import Path

import pytest

from rwkv.data.imports.anki.archive import collection_name, kind_by_name


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("Ada.colpkg", "Ada", "colpkg"),
        ("Spanish 2020-2021.apkg", "Spanish 2020-2021", "apkg"),
        ("Spanish-2025-10-30.apkg", "Spanish", "apkg"),
        ("Top 100 (2).apkg", "Top 100", "apkg"),
        ("deck.apkg.1", "deck", "apkg"),
        ("deck.COLPKG.zip", "deck", "colpkg"),
        ("deck.zip", "deck", ""),
        ("v1.2 of it", "v1.2 of it", ""),
        ("User 1/backups/backup-2025-10-30-16.47.11.colpkg", "User 1", "colpkg"),
        ("User 1/collection.anki2", "User 1", ""),
        ("Grace/collection-2025-10-30@16-47-11.colpkg", "Grace", "colpkg"),
        ("Grace/Downloads/collection-2024-01-12-11-10 (1).colpkg", "Grace", "colpkg"),
        ("Grace/backup-30.apkg", "Grace", "apkg"),
        ("Grace/collection.anki21b", "Grace", ""),
        ("Grace/20251030.colpkg", "Grace", "colpkg"),
    ],
)
def test_names(tmp_path: Path, path: str, name: str, kind: str) -> None:
    assert (collection_name(tmp_path / path), kind_by_name(tmp_path / path)) == (name, kind)


def test_a_file_in_the_root_folder_keeps_its_own_name() -> None:
    assert collection_name(Path("/collection.anki2")) == "collection"
