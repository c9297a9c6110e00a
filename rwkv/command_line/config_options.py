"""The command line of the benchmark's commands: a configuration file, and keys that override it."""

import argparse

from rwkv.command_line.options import HelpFormatter
from rwkv.config import Config
from rwkv.config_file import AnyConfig, describe_keys, load_config
from rwkv.config_values import as_path


def config_parser(name: str, about: str | None, examples: str, cls: type[Config]) -> argparse.ArgumentParser:
    """A parser with --config and --set, whose help lists the keys.

    Args:
        name: The command, such as "python -m rwkv.get_result".
        about: The description.
        examples: A pattern of the shipped configuration files.
        cls: The configuration's class.
    """
    epilog = f"keys of the configuration:\n{describe_keys(cls)}"
    parser = argparse.ArgumentParser(prog=name, description=about, epilog=epilog, formatter_class=HelpFormatter)
    parser.add_argument("--config", type=as_path, required=True, help=f"a TOML file; see rwkv/{examples} for examples")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the file, such as DEVICE=cpu or USER_IDS='[1, 2]'; may be repeated",
    )
    return parser


def configured(options: argparse.Namespace, cls: type[AnyConfig], **flags: object) -> AnyConfig:
    """The configuration of the parsed options. flags: fields that override the file and --set. Raises ConfigError."""
    return load_config(options.config, cls, options.set, **flags)


def _setting(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key.strip(), value.strip()
