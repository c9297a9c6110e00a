"""The command `rwkv schedule`."""

import argparse

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
from rwkv.plurals import counted
from rwkv.runtime import log

_DESCRIPTION = """\
Show the reviews of each of the days ahead, and their expected time. A card is due when its forgetting curve falls to
the desired retention, rounded to days, regardless of Anki's own due day. The days are simulated once: every due card is
reviewed, its rating is drawn from the probabilities of RWKV-P, and the following days depend on it. Minutes are based
on your median time for each button. The collection is not changed."""

_EPILOG = """\
cards: due regardless of the simulated answers; repeats: due after a simulated answer, at most once a day;
new: first reviews; waiting: due cards above the limit, moved to later days

A backlog is due on day 0, unless --backlog-days spreads it or --limit caps the day. With a limit, the cards with the
highest recall come first, and the others wait.

examples, where mine is a collection or a folder:
  rwkv schedule mine --retention 0.9 --days 30
  rwkv schedule mine --limit 100 --new 5
  rwkv schedule mine --backlog-days 14
  rwkv schedule mine --search 0     today's cards, for the search box of Anki
  rwkv schedule mine --out days.json"""


def add_schedule(commands: Commands) -> None:
    """Add the command `schedule`."""
    parser = add_command(commands, "schedule", _run, "show the reviews of the days ahead", _DESCRIPTION, _EPILOG)
    add_folder(parser)
    add_when(parser)
    add_retention(parser)
    parser.add_argument("--days", type=int, default=30, help="the number of days (default: 30)")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N cards a day (default: all due cards)")
    parser.add_argument("--new", type=int, default=0, metavar="N", help="N new cards a day (default: 0)")
    help = "spread the cards that are due now over N days (default: 1)"
    parser.add_argument("--backlog-days", type=int, default=1, metavar="N", help=help)
    parser.add_argument("--seed", type=int, default=1, help="the seed of the simulated answers (default: 1)")
    help = "print only the cards of a day, as cid:1,2,3 for Anki; ids that are texts one a line"
    parser.add_argument("--search", type=int, metavar="DAY", help=help)
    add_out(parser, "write .json, .csv or .txt")
    add_model(parser)
    add_states(parser)


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.collection.chosen_model import choose_model
    from rwkv.collection.days_ahead import Pace
    from rwkv.collection.learner import choose_user, read_learner
    from rwkv.collection.moment import moment_of
    from rwkv.collection.schedule import MOST_DAYS, schedule_learner
    from rwkv.command_line import schedule_tables

    if options.search is not None and not 0 <= options.search < MOST_DAYS:
        what, expected = "The day is out of range.", f"0 for today, 1 for tomorrow, up to {MOST_DAYS - 1}"
        hint = "choose another day"
        raise InputError(what, where="--search", got=str(options.search), expected=expected, hint=hint)
    if options.out is not None:
        schedule_tables.format_of(options.out)  # fail before the work
    pace = Pace(options.limit, options.new, options.backlog_days)
    model = choose_model(options.model)  # fail before the collection is read
    folder = opened_folder(options)
    learner = read_learner(folder, choose_user(folder, options.user))
    at_s = moment_of(options.at, learner)
    count = options.days if options.search is None else options.search + 1
    days, past = schedule_learner(learner, model, at_s, options.retention, count, options.seed, pace, options.states)
    schedule = schedule_tables.schedule_of(learner, at_s, model, past, days, pace, options.retention)
    fields = schedule_tables.as_fields(schedule)
    if options.out is not None:
        schedule_tables.write_schedule(options.out, schedule)
        _log_reason(schedule.reason)
        return Answer(written(counted(len(days), "day"), options.out, schedule.heading.notice), fields)
    if options.search is not None:
        day, search = days[options.search], schedule.searches[options.search]
        if schedule.heading.notice:
            log.info("%s", schedule.heading.notice)
        _log_reason(None if search else schedule.reason or schedule_tables.why_no_search(day))
        return Answer(search, fields)
    return Answer(schedule_tables.as_text(schedule), fields)


def _log_reason(reason: str | None) -> None:
    """Log why there are no cards, where stdout is for the search alone."""
    if reason:
        log.warning(reason)
