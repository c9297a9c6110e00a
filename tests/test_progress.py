"""Progress bars: they are drawn on terminals only."""

import sys

import pytest

from rwkv.runtime import progress


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bars_are_drawn_on_a_terminal_only(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with progress(range(3), 3, "learners") as bar:
        assert list(bar) == [0, 1, 2]
        bar.set_postfix(loss=0.5)
    drawn = capsys.readouterr().err
    assert ("\r" in drawn, "learners: 100%" in drawn) == (is_terminal, is_terminal)
