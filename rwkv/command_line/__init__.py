"""What the `rwkv` command takes: a file a command, which only parses, calls the function that does the work, and says
in an Answer what came of it. A command `x` is `add_x(commands)` in `x.py`; one named as a Python keyword in `x_.py`.
"""
