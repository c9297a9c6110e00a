"""RWKV for spaced repetition: what the `rwkv` command does, as Python functions."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rwkv.collection.card_predictions import predict_collection
    from rwkv.collection.card_query import parse_query
    from rwkv.collection.chosen_model import choose_model
    from rwkv.collection.compare import compare_folders, compare_users
    from rwkv.collection.import_collections import import_collections
    from rwkv.collection.schedule import Pace, schedule_collection
    from rwkv.data.revlogs import read_history
    from rwkv.model.checkpoint import read_weights, write_weights
    from rwkv.model.inputs import SequenceDraw, draw_sequence
    from rwkv.model.spec import CODES, CodeSpec
    from rwkv.recurrent.engine import Engine
    from rwkv.recurrent.features import Place, Review
    from rwkv.recurrent.person import Question
    from rwkv.report.write_report import write_report

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
    "Pace": "rwkv.collection.schedule",
    "Place": "rwkv.recurrent.features",
    "Question": "rwkv.recurrent.person",
    "Review": "rwkv.recurrent.features",
    "SequenceDraw": "rwkv.model.inputs",
    "choose_model": "rwkv.collection.chosen_model",
    "compare_folders": "rwkv.collection.compare",
    "compare_users": "rwkv.collection.compare",
    "draw_sequence": "rwkv.model.inputs",
    "import_collections": "rwkv.collection.import_collections",
    "parse_query": "rwkv.collection.card_query",
    "predict_collection": "rwkv.collection.card_predictions",
    "read_history": "rwkv.data.revlogs",
    "read_weights": "rwkv.model.checkpoint",
    "schedule_collection": "rwkv.collection.schedule",
    "write_report": "rwkv.report.write_report",
    "write_weights": "rwkv.model.checkpoint",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is asked for: the commands of the data layer do without torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'rwkv' has no attribute {name!r}")
