"""The arguments of the `rwkv` command, and the tables it prints.

A command `x` is defined by `add_x(commands)` in `x_command.py`. It parses arguments, calls the function that does the
work, and returns an Answer.
"""
