"""The public names of the package, each once. rwkv/__init__.py imports them on first use."""

from rwkv.collection.cached_import import open_collection as open_collection
from rwkv.collection.card_predictions import predict_collection as predict_collection
from rwkv.collection.card_query import parse_query as parse_query
from rwkv.collection.chosen_model import choose_model as choose_model
from rwkv.collection.compare import compare_folders as compare_folders
from rwkv.collection.compare import compare_users as compare_users
from rwkv.collection.days_ahead import Pace as Pace
from rwkv.collection.import_collections import import_collections as import_collections
from rwkv.collection.schedule import schedule_collection as schedule_collection
from rwkv.data.revlogs import read_history as read_history
from rwkv.model.checkpoint import read_weights as read_weights
from rwkv.model.checkpoint import write_weights as write_weights
from rwkv.model.inputs import SequenceDraw as SequenceDraw
from rwkv.model.inputs import draw_sequence as draw_sequence
from rwkv.model.spec import CODES as CODES
from rwkv.model.spec import CodeSpec as CodeSpec
from rwkv.recurrent.engine import Engine as Engine
from rwkv.recurrent.features import Place as Place
from rwkv.recurrent.features import Review as Review
from rwkv.recurrent.person import Question as Question
from rwkv.report.write_report import write_report as write_report

__version__: str
__all__: list[str]
