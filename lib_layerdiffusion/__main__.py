"""The command `python -m lib_layerdiffusion`."""

import sys

if sys.argv[1:2] == ["doctor"]:
    # it works where the packages that the other commands need are missing or broken
    from lib_layerdiffusion import doctor

    sys.exit(doctor.main(sys.argv[2:]))

from lib_layerdiffusion.command import main

sys.exit(main(sys.argv[1:]))
