"""Words that tell a model what its method is for, put into prompts where they are missing."""

from __future__ import annotations

import re

from lib_layerdiffusion.methods import FAMILIES
from lib_layerdiffusion.request.finish import Value

_WORDS = " or ".join(f'"{family.words}"' for family in FAMILIES if family.words)

TRIGGER_WORDS = Value(
    "trigger_words", "Trigger words", True, f"puts {_WORDS} into the prompt where it is missing"
)
AND = re.compile(r"(\bAND\b)")
"""What hosts split a prompt by; each part may end in a weight."""


def with_words(prompt: str, words: str) -> str:
    """Return a prompt each of whose parts begins with the words, if it does not have them anywhere."""
    if not words:
        return prompt
    return "".join(
        part if AND.fullmatch(part) or words.lower() in part.lower() else _begun(part, words)
        for part in AND.split(prompt)
    )


def _begun(part: str, words: str) -> str:
    text = part.lstrip()
    before = part[: len(part) - len(text)]
    # a weight alone belongs to an empty prompt
    joined = (
        f"{words}, {text}" if text and not text.startswith(":") else f"{words}{' ' if before else ''}{text}"
    )
    return f"{before}{joined}"
