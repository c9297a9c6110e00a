"""What the `rwkv` command takes, and the tables it prints. A command `x` is `add_x(commands)` in `x_command.py`, which
only parses, calls the function that does the work, and says in an Answer what came of it.
"""
