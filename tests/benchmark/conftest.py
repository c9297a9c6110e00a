"""The workspace of a test, and what evaluations and trainings need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.benchmark.downloads import make_contents
from tests.benchmark.evaluation import ROWS_TOGETHER, Evaluation, make_inputs
from tests.benchmark.hub import Hub, serving
from tests.benchmark.training import Training, make_stores, set_often
from tests.benchmark.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Histories, keys, a store and models, which no test may change."""
    root = tmp_path_factory.mktemp("evaluation_inputs")
    make_inputs(root)
    return root


@pytest.fixture
def evaluation(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """Evaluations, in several batches, whose results lie in a folder of the test's own."""
    monkeypatch.setattr("rwkv.benchmark.evaluate._ROWS_TOGETHER", ROWS_TOGETHER)
    root = tmp_path / "evaluation"
    root.mkdir()
    return Evaluation(inputs, root)


@pytest.fixture(scope="session")
def plain(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The result files of an undisturbed run without RAW."""
    whole = Evaluation(inputs, tmp_path_factory.mktemp("plain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rwkv.benchmark.evaluate._ROWS_TOGETHER", ROWS_TOGETHER)
        assert whole.run() == 0
    return whole.files()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores to train on and to validate on, which no test may change."""
    root = tmp_path_factory.mktemp("stores")
    make_stores(root)
    return root


@pytest.fixture
def training(stores: Path, tmp_path: Path) -> Training:
    return Training(stores, tmp_path / "out")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints every 2 steps."""
    set_often(monkeypatch)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small dataset on a hub."""
    return make_contents(tmp_path_factory.mktemp("published"))


@pytest.fixture
def hub(contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client of this process asks instead of the public one."""
    with serving(Hub(dict(contents))) as served:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, served.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "login" / "token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's attempts
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield served
