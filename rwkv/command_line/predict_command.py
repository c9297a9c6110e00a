"""The command `rwkv predict`."""

import argparse
from dataclasses import asdict, replace

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import (
    Commands,
    add_command,
    add_folder,
    add_model,
    add_out,
    add_retention,
    add_states,
    add_when,
    opened_folder,
    written,
)
from rwkv.errors import InputError
from rwkv.files import is_stream
from rwkv.plurals import counted
from rwkv.runtime import log

_ROWS = "a number of lines, 0 for all"
# Formats that hold only columns.
_WITHOUT_NOTICES = ("csv", "parquet")
_DESCRIPTION = """\
Predict every card: recall by RWKV-P and by the forgetting curve, the probabilities of the four ratings, and the
interval after each button. The collection is not changed. The network's states are saved beside the
imported or cached reviews, if they are not too large (--states), so that the next prediction takes seconds."""

_EPILOG = """\
queries (--cards), a subset of the language of Anki's search box:
  word "some words" wor*d   text of the note's first non-empty field
  deck:NAME preset:NAME     includes subdecks; NAME may contain *; deck:"A B"
  tag:NAME tag:none         includes subtags; NAME may contain *
  is:new is:due is:suspended  as in Anki
  added:7 rated:7 rated:7:1 added, answered or answered Again within 7 days
  cid:1,2,3                 card ids
  prop:r<0.9 prop:p<0.8     recall by the curve, and by RWKV-P
  prop:left<=0              days until the curve falls to the desired retention
  prop:ivl>=21 prop:due<=0  Anki's interval, and days until Anki's due day
  a b, a or b, -a, ( )      and, or, not, grouping

examples, where mine is a collection or a folder:
  rwkv predict mine
  rwkv predict mine --cards 'deck:Spanish prop:r<0.8 -is:suspended'
  rwkv predict mine --at +3d --out cards.csv
  rwkv predict mine --json | jq '.cards[] | select(.p_now < 0.5) | .card_id'"""


def add_predict(commands: Commands) -> None:
    """Add the command `predict`."""
    parser = add_command(commands, "predict", _run, "predict the recall of every card", _DESCRIPTION, _EPILOG)
    add_folder(parser)
    add_when(parser)
    parser.add_argument(
        "--cards", dest="query", default="", metavar="QUERY", help="a query, see below (default: all cards)"
    )
    add_retention(parser)
    parser.add_argument(
        "--least-days",
        type=float,
        default=1.0,
        metavar="DAYS",
        help="the shortest interval in days (default: 1, as in Anki; 0 allows intervals within a day)",
    )
    help = "the format of the file or of stdout (default: by the file's ending, else text)"
    parser.add_argument("--format", choices=("text", "csv", "json", "parquet"), help=help)
    add_out(parser, "write the table to a file")
    parser.add_argument(
        "--rows", type=int, default=40, metavar="N", help="lines of the text table, 0 for all (default: 40)"
    )
    add_model(parser)
    add_states(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.card_predictions import doubt_of, predict_learner
    from rwkv.collection.card_query import parse_query
    from rwkv.collection.chosen_model import choose_model
    from rwkv.collection.learner import choose_user, read_learner
    from rwkv.collection.moment import moment_of
    from rwkv.collection.no_matches import why_none_match
    from rwkv.command_line import card_tables

    if options.rows < 0:
        what, hint = "The number of lines is negative.", "use 0 or more, or omit --rows"
        raise InputError(what, where="--rows", got=str(options.rows), expected=_ROWS, hint=hint)
    format, query = card_tables.format_of(options.out, options.format), parse_query(options.query)
    if format == "parquet":
        from rwkv.data import arrow  # noqa: F401 - fail before the work where pyarrow is missing
    model = choose_model(options.model)  # fail before the collection is read
    folder = opened_folder(options)
    learner = read_learner(folder, choose_user(folder, options.user))
    at_s = moment_of(options.at, learner)
    cards, past = predict_learner(learner, model, at_s, query, options.retention, options.least_days, options.states)
    cards = cards.least_likely_first()
    heading = card_tables.heading_of(learner, at_s, model, past, doubt_of(cards, options.least_days))
    if len(cards) == 0:
        heading = replace(heading, reason=why_none_match(learner, query, at_s))
    if heading.doubt:
        log.warning("%s", heading.doubt)
    is_printed = options.out is None or is_stream(options.out)
    if heading.notice and is_printed and format in _WITHOUT_NOTICES and not options.json:
        log.info("%s", heading.notice)
    if heading.reason and not options.json and (options.out is not None or format in _WITHOUT_NOTICES):
        log.warning("%s", heading.reason)
    if options.out is not None:
        card_tables.write_cards(options.out, heading, cards, format)
        text = written(counted(len(cards), "card"), options.out, heading.notice)
        return Answer(text, {**asdict(heading), "file": options.out})
    fields = card_tables.as_fields(heading, cards) if options.json else {}
    text = "" if options.json else card_tables.formatted(heading, cards, format, options.rows or len(cards))
    return Answer(text, fields)
