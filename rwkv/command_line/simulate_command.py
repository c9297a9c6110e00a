"""The command `rwkv simulate`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rwkv.command_line.answer import Answer
from rwkv.command_line.options import Commands, add_command, add_processes, completed_by_files, completed_by_folders
from rwkv.errors import InputError
from rwkv.plurals import counted

_DESCRIPTION = """\
Write simulated learners as parquet files, with their true recall probabilities in truth/.

--check compares the learners with published figures of people: how well algorithms from an average to optimised FSRS-5
predict them, scores of 9,999 people, and the sizes of their collections, of those 9,933 with a table of cards. Without
--users it checks an existing dataset. 500 learners of 5,000 reviews take some minutes."""


def add_simulate(commands: Commands) -> None:
    """Add the command `simulate`."""
    parser = add_command(commands, "simulate", _run, "write a dataset of simulated learners", _DESCRIPTION)
    parser.add_argument("--users", type=int, help="the number of learners (required, except with --check alone)")
    parser.add_argument("--reviews", type=int, help="the mean number of reviews of a learner (required with --users)")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the learners (default: 1)")
    parser.add_argument("--first-user", type=int, default=1, help="the number of the first learner (default: 1)")
    parser.add_argument(
        "--spread",
        type=float,
        default=0.7,
        help="the standard deviation of the log number of reviews; 1.4 among people (default: 0.7)",
    )
    add_processes(parser)
    completed_by_folders(
        parser.add_argument("--out", type=Path, required=True, help="the dataset's folder, for DATA_PATH")
    )
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("--check", action="store_true", help="compare the learners with people")
    for name in ("rwkv", "rwkv-p"):
        help = f"with --check: the results of {name.upper()} for the learners, a .jsonl of `python -m rwkv.get_result`"
        completed_by_files(parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=help))


def _run(options: argparse.Namespace) -> Answer:
    from rwkv.benchmark.simulate import simulate
    from rwkv.data.revlogs import list_users

    results = {"RWKV": options.rwkv, "RWKV-P": options.rwkv_p}
    results = {name: path for name, path in results.items() if path is not None}
    if results and not options.check:
        what, hint = "Result files are for comparison with people.", "add --check, or omit the files"
        where = " and ".join(f"--{name.lower()}" for name in results)
        raise InputError(what, where=where, got=", ".join(map(str, results.values())), hint=hint)
    if options.check and options.users is None and options.reviews is None:
        return _check(options, list_users(options.out), results)
    lacking = [f"--{name}" for name in ("users", "reviews") if getattr(options, name) is None]
    if lacking:
        options.refuse(f"the following arguments are required: {', '.join(lacking)}")
    exit_code = simulate(
        options.users,
        options.reviews,
        options.seed,
        options.out,
        options.first_user,
        options.spread,
        options.processes,
    )
    users = range(options.first_user, options.first_user + options.users)
    if options.check:
        return _check(options, users, results)
    fields = {"dataset": options.out, "first_user": users[0], "last_user": users[-1]}
    return Answer(f"{counted(len(users), 'simulated learner')} written to {options.out}", fields, exit_code)


def _check(options: argparse.Namespace, users: Sequence[int], results: dict[str, Path]) -> Answer:
    from rwkv.benchmark.check_simulation import check_simulation
    from rwkv.command_line.ladder_table import format_ladder, ladder_fields

    result = check_simulation(options.out, users, options.processes, results)
    fields = {"dataset": options.out, "first_user": users[0], "last_user": users[-1]}
    return Answer(format_ladder(result), {**fields, **ladder_fields(result)})
