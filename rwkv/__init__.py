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
    from rwkv.commands.schedule import Pace, schedule_collection
    from rwkv.data.revlogs import read_history
    from rwkv.model.checkpoint import read_weights, write_weights
    from rwkv.model.inputs import SequenceDraw, draw_sequence
    from rwkv.model.spec import CODES, CodeSpec
    from rwkv.recurrent.engine import Engine
    from rwkv.recurrent.features import Place, Review
    from rwkv.recurrent.person import Question

__version__ = "0.1.0"
__all__ = [
    "CODES",
    "CodeSpec",
    "Engine",
    "Pace",
    "Place",
    "Question",
    "Review",
    "SequenceDraw",
    "choose_model",
    "compare_folders",
    "compare_users",
    "draw_sequence",
    "import_collections",
    "parse_query",
    "predict_collection",
    "read_history",
    "read_weights",
    "schedule_collection",
    "write_report",
    "write_weights",
]

_MODULES = {
    "CODES": "rwkv.model.spec",
    "CodeSpec": "rwkv.model.spec",
    "Engine": "rwkv.recurrent.engine",
    "Pace": "rwkv.commands.schedule",
    "Place": "rwkv.recurrent.features",
    "Question": "rwkv.recurrent.person",
    "Review": "rwkv.recurrent.features",
    "SequenceDraw": "rwkv.model.inputs",
    "choose_model": "rwkv.commands.chosen_model",
    "compare_folders": "rwkv.commands.compare",
    "compare_users": "rwkv.commands.compare",
    "draw_sequence": "rwkv.model.inputs",
    "import_collections": "rwkv.commands.import_collections",
    "parse_query": "rwkv.commands.card_query",
    "predict_collection": "rwkv.commands.predict",
    "read_history": "rwkv.data.revlogs",
    "read_weights": "rwkv.model.checkpoint",
    "schedule_collection": "rwkv.commands.schedule",
    "write_report": "rwkv.commands.report",
    "write_weights": "rwkv.model.checkpoint",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is asked for: the commands of the data layer do without torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'rwkv' has no attribute {name!r}")
