"""The command `python -m lib_layerdiffusion`."""

import sys

from lib_layerdiffusion.command import main

sys.exit(main(sys.argv[1:]))
