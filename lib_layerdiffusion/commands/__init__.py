"""Commands over finished pictures, one a module: `python -m lib_layerdiffusion NAME`. None loads torch."""
