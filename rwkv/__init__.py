"""RWKV for spaced repetition: what the `rwkv` command does, as Python functions."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rwkv.commands.card_query import parse_query
    from rwkv.commands.chosen_model import choose_model
    from rwkv.commands.compare import compare_folders, compare_users
    from rwkv.commands.import_collections import import_collections
    from rwkv.commands.predict import predict_collection
    from rwkv.commands.report import write_report
    from rwkv.commands.schedule import schedule_collection
    from rwkv.data.revlogs import read_history
    from rwkv.recurrent.engine import Engine
    from rwkv.recurrent.features import Review
    from rwkv.recurrent.person import Question

__version__ = "0.1.0"
__all__ = [
    "Engine",
    "Question",
    "Review",
    "choose_model",
    "compare_folders",
    "compare_users",
    "import_collections",
    "parse_query",
    "predict_collection",
    "read_history",
    "schedule_collection",
    "write_report",
]

_MODULES = {
    "Engine": "rwkv.recurrent.engine",
    "Question": "rwkv.recurrent.person",
    "Review": "rwkv.recurrent.features",
    "choose_model": "rwkv.commands.chosen_model",
    "compare_folders": "rwkv.commands.compare",
    "compare_users": "rwkv.commands.compare",
    "import_collections": "rwkv.commands.import_collections",
    "parse_query": "rwkv.commands.card_query",
    "predict_collection": "rwkv.commands.predict",
    "read_history": "rwkv.data.revlogs",
    "schedule_collection": "rwkv.commands.schedule",
    "write_report": "rwkv.commands.report",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is asked for: the commands of the data layer do without torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'rwkv' has no attribute {name!r}")
