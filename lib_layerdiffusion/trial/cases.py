"""What is tried, case by case: round trip, every method, what is left behind, saved files, times."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lib_layerdiffusion.methods import Layer, Method
from lib_layerdiffusion.pictures.png import Raster
from lib_layerdiffusion.pictures.shares import shares
from lib_layerdiffusion.trial import forms, round_trip, times
from lib_layerdiffusion.trial.client import Refused
from lib_layerdiffusion.trial.connection import STATUS
from lib_layerdiffusion.trial.jobs import Answer, Failed, Jobs, largest_difference
from lib_layerdiffusion.trial.times import Times

RIGHT, WRONG, WEAK, NOTE = "ok", "WRONG", "weak", "note"
NOISE = 2
"""Levels that two runs of one job may differ by, beyond what they did at the start."""


class Outcome(NamedTuple):
    """What a case found: one of the four states above, sentences, and the numbers behind them."""

    state: str
    text: str
    numbers: Mapping[str, Any] = {}


class Case(NamedTuple):
    """A thing to try; `run` may raise Failed."""

    name: str
    run: Callable[[], Outcome]


@dataclass
class Findings:
    """What has come of it so far. `sheet` are named pictures."""

    outcomes: list[tuple[str, Outcome, float]] = field(default_factory=list)
    sheet: list[tuple[str, Raster]] = field(default_factory=list)
    times: dict[str, Times] = field(default_factory=dict)

    @property
    def all_right(self) -> bool:
        return all(outcome.state != WRONG for _, outcome, _ in self.outcomes)


class Trial:
    """The cases of one family, for the methods of it that are to be tried."""

    def __init__(
        self, jobs: Jobs, methods: Sequence[Method], findings: Findings, repeats: int, timed: bool
    ) -> None:
        self._client = jobs.client
        self._jobs = jobs
        self._methods = methods
        self._findings = findings
        self._repeats = repeats
        self._timed = timed
        self._before: list[Answer] = []
        self._floor = 0
        self._came_back = False
        self._decoding = [method for method in methods if method.decodes_alpha]
        self._times = findings.times.setdefault(jobs.family.key, Times(jobs.size, jobs.steps))

    def cases(self) -> Iterator[Case]:
        """In the order in which they have to run."""
        title = self._jobs.family.title
        yield Case(f"{title}: LayerDiffuse off", self._off)
        alone = [method for method in self._decoding if not method.pictures and method.frames == 1]
        if alone:
            yield Case(f"{title}: round trip of a known picture", lambda: self._round_trip(alone[0]))
        for method in self._methods:
            yield Case(method.label, lambda method=method: self._method(method))  # type: ignore[misc]
        if alone:
            yield Case(f"{title}: saved pictures", lambda: self._saved(alone[0]))
        if alone and self._timed:
            if alone[0].decodes_in_passes:
                yield Case(f"{title}: time of the decode", lambda: self._decode_times(alone[0]))
            yield Case(f"{title}: time of a generation", lambda: self._generation_times(alone[0]))

    def _off(self) -> Outcome:
        # the first one may load the checkpoint
        self._before = [self._jobs.without() for _ in range(self._repeats + 1)]
        first = self._picture(self._before[0])
        self._findings.sheet.append((f"{self._jobs.family.title}: LayerDiffuse off", first))
        self._floor = max(
            (largest_difference(first, self._picture(one)) for one in self._before[1:]), default=0
        )
        self._times.off = [one.seconds for one in self._before[1:]]
        self._times.note_memory("off", self._client)
        text = "the same each time" if not self._floor else f"up to {self._floor} levels apart"
        return Outcome(RIGHT, f"{text}, {times.shown(self._times.off)}", {"largest_difference": self._floor})

    @staticmethod
    def _picture(answer: Answer) -> Raster:
        if not answer.pictures:
            raise Failed("no picture came")
        return answer.pictures[0]

    def _round_trip(self, method: Method) -> Outcome:
        jobs = self._jobs
        plain = self._picture(jobs.round_trip(None))
        result = self._picture(jobs.round_trip(method))
        true = jobs.picture(Layer.FOREGROUND)
        self._findings.sheet += [
            ("the known picture", true),
            (f"{jobs.family.title}: what came back of it", result),
        ]
        if result[:2] != true[:2]:
            return Outcome(WRONG, f"The picture that came back has {result.width}x{result.height} pixels.")
        found = round_trip.judge(result, true, plain, jobs.on_grey())
        self._came_back = not found.problem
        numbers = {**found.errors._asdict(), "psnr": found.errors.psnr, "own_psnr": found.own}
        text = (
            f"alpha {found.errors.alpha:.3f}, colour {found.errors.colour:.3f}, red {found.errors.red:+.3f}, "
            f"over backgrounds {found.errors.psnr:.1f} dB (the autoencoder alone {found.own:.1f} dB)"
        )
        return Outcome(WRONG if found.problem else RIGHT, f"{text}. {found.problem}".strip(), numbers)

    def _method(self, method: Method) -> Outcome:
        jobs, problems = self._jobs, []
        answer = jobs.of_method(method)
        form = forms.form(method, answer, jobs.size)
        problems += form.problems
        for layer, picture in zip(method.outputs, form.layers, strict=False):
            self._findings.sheet.append((f"{method.label}: {layer.value}", picture))
        problems += self._replay_problems(method, answer)
        problems += self._left_problems(method)
        numbers: dict[str, Any] = {"seconds": answer.seconds}
        verdict = forms.judged(method, form.layers)
        if verdict is not None:
            found = shares(form.layers[0].alpha(), form.layers[0].width, form.layers[0].height)
            numbers |= {"verdict": verdict.word, **found._asdict()}
        layers = " and ".join(
            f"{layer.value} {picture.mode}"
            for layer, picture in zip(method.outputs, form.layers, strict=False)
        )
        if verdict is not None:
            layers += f"; transparency {verdict.text}"
            if verdict.word == "failed" and self._came_back:
                problems.append("The picture did not become transparent, though a known one comes back.")
        if problems:
            return Outcome(WRONG, f"{' '.join(problems)} ({layers})", numbers)
        if verdict is not None and verdict.word != "clean":
            return Outcome(WEAK, f"form right: {layers}", numbers)
        return Outcome(RIGHT, f"form right: {layers}", numbers)

    def _replay_problems(self, method: Method, answer: Answer) -> list[str]:
        try:
            arguments = forms.replayed(answer.infotexts[0] if answer.infotexts else "")
        except ValueError as error:
            return [str(error)]
        again = self._jobs.of_method(method, arguments)
        apart = [largest_difference(*pair) for pair in zip(answer.pictures, again.pictures, strict=False)]
        if len(answer.pictures) == len(again.pictures) and max(apart, default=255) <= self._floor + NOISE:
            return []
        return [f"Its infotext gives another picture: {max(apart, default=255)} levels apart."]

    def _left_problems(self, method: Method) -> list[str]:
        after = largest_difference(self._picture(self._before[0]), self._picture(self._jobs.without()))
        if after <= self._floor + NOISE:
            return []
        return [
            f"Something is left behind: the next job with LayerDiffuse off differs by {after} levels from "
            "the one before."
        ]

    def _saved(self, method: Method) -> Outcome:
        """Save one picture, and look at what the WebUI wrote and sent."""
        shown = self._jobs.of_method(method)
        known = self._newest()
        saved = self._jobs.of_method(method, save_images=True, settings={"samples_save": True})
        written = {number: told for number, told in self._newest().items() if number not in known}
        problems = []
        picture = self._picture(saved)
        if picture.mode != "RGBA" or largest_difference(self._picture(shown), picture) > self._floor + NOISE:
            problems.append(f"The answer loses its transparency when it is saved: {_alpha(picture)}.")
        if len(written) > method.frames:
            problems.append(
                f"{len(written)} pictures were saved in place of {method.frames}: previews are saved."
            )
        if not written:
            problems.append("No picture was saved.")
        readable = [told for told in written.values() if told]
        expected = zlib.crc32(picture.values)
        if readable and not any(told["mode"] == "RGBA" for told in readable):
            problems.append(
                f"Alpha is lost on save: the file is {readable[0]['kind']}, {readable[0]['mode']}."
            )
        elif readable and not any(told["crc"] == expected for told in readable):
            problems.append(
                "The saved file is not the picture that was shown: its alpha or its colours changed."
            )
        kinds = (
            ", ".join(f"{told['kind']} {told['mode']}" for told in readable)
            or "a file of a kind that is not read"
        )
        return (
            Outcome(WRONG, " ".join(problems)) if problems else Outcome(RIGHT, f"one file, {kinds}, as shown")
        )

    def _newest(self) -> dict[int, Mapping[str, Any]]:
        try:
            told = self._client.get(STATUS).get("saved", [])
        except Refused as refused:
            raise Failed(f"LayerDiffuse there did not tell its state ({refused})") from refused
        return {one["number"]: one if "mode" in one else {} for one in told}

    def _decode_times(self, method: Method) -> Outcome:
        def run(passes: int | str) -> float:
            return self._jobs.of_method(
                method, steps=1, settings={"layerdiffuse_decode_passes": passes}
            ).seconds

        self._times.measure_decode(run, self._repeats)
        return Outcome(RIGHT, f"{times.shown(self._times.per_pass())} a pass")

    def _generation_times(self, method: Method) -> Outcome:
        # another Weight first, so that the next one has to patch
        self._jobs.of_method(method, {"weight": 0.9})
        on = [self._jobs.of_method(method).seconds for _ in range(self._repeats + 1)]
        stopped = [
            self._jobs.of_method(method, {"ending_step": 0.5}).seconds for _ in range(self._repeats + 1)
        ]
        self._times.first, self._times.again, self._times.stop_at = on[:1], on[1:], stopped[1:]
        self._times.note_memory("on", self._client)
        off, again = times.shown(self._times.off), times.shown(self._times.again)
        return Outcome(RIGHT, f"off {off}, on {again}, Stop At 0.5 {times.shown(self._times.stop_at)}")


def _alpha(picture: Raster) -> str:
    alpha = picture.alpha()
    return f"{picture.mode}, alpha {min(alpha)} to {max(alpha)}"
