"""The command `python -m lib_layerdiffusion`."""

from __future__ import annotations

import io
import sys


def main(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # a folder may have a name that the console cannot print
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.version_info < (3, 10):  # noqa: UP036
        sys.stderr.write(f"This Python is {sys.version.split()[0]}; LayerDiffuse needs 3.10 or newer.\n")
        return 2
    if arguments[:1] == ["doctor"]:
        # it works where the packages that the other commands need are missing or broken
        from lib_layerdiffusion import doctor

        return doctor.main(arguments[1:])
    if arguments[:1] == ["try"]:
        # it drives a WebUI from anywhere, with the standard library alone
        from lib_layerdiffusion.trial import main as trial

        return trial.main(arguments[1:])
    if arguments[:1] == ["stack"]:
        from lib_layerdiffusion.commands import stack

        return stack.main(arguments[1:])
    if arguments[:1] == ["finish"]:
        from lib_layerdiffusion.commands import finish

        return finish.main(arguments[1:])
    if arguments[:1] == ["atlas"]:
        from lib_layerdiffusion.commands import atlas

        return atlas.main(arguments[1:])
    if arguments[:1] == ["inspect"]:
        from lib_layerdiffusion.commands import inspect

        return inspect.main(arguments[1:])
    from lib_layerdiffusion import command

    return command.main(arguments)


sys.exit(main(sys.argv[1:]))
