"""What the commands of the benchmark take on the command line: a configuration file, and keys that go before it."""

import argparse

from rwkv.config import AnyConfig, load_config
from rwkv.config_values import as_path


def config_parser(name: str, about: str | None, examples: str) -> argparse.ArgumentParser:
    """A parser with --config and --set. examples: which of the shipped files the command takes."""
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument("--config", type=as_path, required=True, help=f"a TOML file, see rwkv/{examples}")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key that goes before the file's, such as DEVICE=cpu or USER_IDS='[1, 2]'; may be repeated",
    )
    return parser


def configured(options: argparse.Namespace, cls: type[AnyConfig], **flags: object) -> AnyConfig:
    """The configuration that the parsed options ask for. flags: fields that go before both. Raises ConfigError."""
    return load_config(options.config, cls, options.set, **flags)


def _setting(text: str) -> tuple[str, str]:
    key, is_given, value = text.partition("=")
    if not is_given or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key.strip(), value.strip()
