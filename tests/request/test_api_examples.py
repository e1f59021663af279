"""What docs/api.md says, run over the loopback: both examples, and every row of its table put into them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from lib_layerdiffusion.methods import KEEP, RELEASED, Layer, Method, find_method
from lib_layerdiffusion.request import layer_plan, spellings
from lib_layerdiffusion.request.layer_plan import Asked
from lib_layerdiffusion.request.settings import ARGUMENTS, SHORT
from miniature.webui.api import encoded
from tests.helpers.jobs import picture

DOCUMENT = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")
EXAMPLES = {
    kind: code
    for kind, code in re.findall(r"^```(sh|python)\n(.*?)^```", DOCUMENT, re.S | re.M)
    if "sdapi" in code
}
ADDRESS = "http://127.0.0.1:7860"
FILES = {f"{short}_image": f"{layer.value}.png" for layer, short in SHORT.items()}
SIDES = {"SDXL": 1024, "SD1.5": 512}


class Row(NamedTuple):
    """One method in the table: arguments beside it (None for a picture), prompt, and what it answers with."""

    method: Method
    label: str
    arguments: dict[str, str | None]
    prompt: str
    answers: list[str]


def cells(heading: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    _, _, rest = DOCUMENT.partition(f"\n| {heading} |")
    table = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def row(label: str, beside: str, prompt: str, answers: str) -> Row:
    arguments = {name: text or None for name, text in re.findall(r"`(\w+)`(?:: ([^,]+))?", beside)}
    return Row(find_method(label), label, arguments, prompt, answers.split(", "))


ROWS = [row(*line) for line in cells("`method`")]


def changed(code: str, to: Row) -> str:
    """The example with a row's values in the place of its own, as a reader of the document puts them in."""
    own = re.search(r'^( +)"method": .*\n +"fg_image": (.*?),?\n', code, re.M)
    assert own is not None
    indent, foreground = own.groups()
    values = {"method": json.dumps(to.label)}
    for name, text in to.arguments.items():
        values[name] = (
            foreground.replace(FILES["fg_image"], FILES[name]) if text is None else json.dumps(text)
        )
    lines = [f'{indent}"{name}": {value}' for name, value in values.items()]
    code = code.replace(own[0], ",\n".join(lines) + "\n")
    side = SIDES[to.method.family.title]
    for name, value in {"prompt": json.dumps(to.prompt), "width": str(side), "height": str(side)}.items():
        code, count = re.subn(rf'"{name}": ("[^"]*"|\d+)', f'"{name}": {value}', code)
        assert count == 1, name
    return code


def test_the_table_has_every_method_and_the_pictures_it_needs() -> None:
    assert {one.method for one in ROWS} == set(RELEASED)
    assert len(ROWS) == len(RELEASED)
    assert set(EXAMPLES) == {"sh", "python"}
    assert all(ADDRESS in code for code in EXAMPLES.values())
    for one in ROWS:
        assert one.label == one.method.label
        needed = {f"{SHORT[layer]}_image" for layer in one.method.pictures}
        assert {name for name in one.arguments if name.endswith("_image")} == needed


def test_the_values_are_those_of_the_script() -> None:
    rows = cells("#")
    names = [name for line in rows for name in re.findall(r"`(\w+)`", line[1])]
    numbers = [int(number) for line in rows for number in line[0].split(", ")]
    assert names == [name for name, _ in ARGUMENTS]
    assert numbers == list(range(len(ARGUMENTS)))
    shown = {name: line[3] for line in rows for name in re.findall(r"`(\w+)`", line[1])}
    for name, default in ARGUMENTS:
        # JSON's words; a text stands bare, as everywhere in tables
        word = default if isinstance(default, str) and default else json.dumps(default)
        assert shown[name].partition(" (true in an object)")[0] == word, name


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("one", ROWS, ids=[one.method.weights.name for one in ROWS])
def test_examples_run(
    server: str, received: list[dict[str, Any]], tmp_path: Path, kind: str, one: Row
) -> None:
    if kind == "sh" and not all(map(shutil.which, ("sh", "curl", "base64", "python3"))):
        pytest.skip("The curl example needs a shell with curl and base64.")
    for layer in Layer:
        Image.fromarray(picture(layer)).save(tmp_path / f"{layer.value}.png")
    code = EXAMPLES[kind]
    if f'"{one.label}"' not in code:
        code = changed(code, one)
    # the standard library alone: nothing that a reader would have to install
    interpreter = [sys.executable, "-I", "-S"] if kind == "python" else ["sh"]
    done = subprocess.run(
        [*interpreter, "-c", code.replace(ADDRESS, server)],
        cwd=tmp_path,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    request = received[-1]
    side = SIDES[one.method.family.title]
    assert (request["prompt"], request["width"], request["height"]) == (one.prompt, side, side)
    given = {
        name: base64.b64encode((tmp_path / FILES[name]).read_bytes()).decode() if text is None else text
        for name, text in one.arguments.items()
    }
    assert request["alwayson_scripts"]["LayerDiffuse"]["args"] == [{"method": one.label, **given}]
    results = [Image.open(io.BytesIO(path.read_bytes())) for path in sorted(tmp_path.glob("result-*.png"))]
    layers = [layer.value.replace("foreground", "RGBA") for layer in one.method.outputs]
    assert one.answers == [*layers, *["preview"] * one.method.decodes_alpha]
    assert [image.mode for image in results] == ["RGBA" if a == "RGBA" else "RGB" for a in one.answers]
    infotext = results[0].info["parameters"]
    assert one.method.label in infotext
    for short, layer in zip(("fg", "bg", "blend"), Layer, strict=True):
        assert f"layerdiffusion_{short}_image: {layer in one.method.pictures}" in infotext


def test_other_names_are_understood() -> None:
    (sentence,) = re.findall(r"in any spelling:\s+(.*?)\.", DOCUMENT, re.S)
    others = re.findall(r"`([^`]+)`", sentence)
    assert len(others) > 3
    names = [name for name, _ in ARGUMENTS]
    assert all(set(spellings.named({other: None}, names)) <= set(names) for other in others)


def snippets(name: str) -> list[dict[str, Any]]:
    """What the text shows of JSON that begins with this name, about the first method of the table."""
    found = re.findall(rf'`("{name}": \{{.*?\}})`', DOCUMENT)
    return [json.loads("{" + text.replace('"..."', json.dumps(ROWS[0].label)) + "}") for text in found]


def test_snippets_run(server: str) -> None:
    """Arguments as one object, with and without `args`, and a setting for one request."""
    scripts = [*snippets("args"), *(one["LayerDiffuse"] for one in snippets("LayerDiffuse"))]
    assert len(scripts) == 2
    (override,) = snippets("override_settings")
    for script in scripts:
        request = {"prompt": "a cup", "alwayson_scripts": {"LayerDiffuse": script}, **override}
        with urllib.request.urlopen(f"{server}/sdapi/v1/txt2img", json.dumps(request).encode()) as answer:
            (infotext, *_) = json.loads(json.load(answer)["info"])["infotexts"]
        assert f"layerdiffusion_weight: {script.get('args', script)['weight']}" in infotext
        for key, value in override["override_settings"].items():
            assert f"{key.replace('layerdiffuse_', 'layerdiffusion_')}: {value}" in infotext


KEEPS, *STACKS = [json.loads(code) for code in re.findall(r"^```json\n(.*?)^```", DOCUMENT, re.S | re.M)]
LAYERS = list(zip(STACKS, ("txt2img", "txt2img", "img2img"), strict=True))


def test_the_request_that_keeps_transparency_runs(server: str) -> None:
    init = picture(width=64, height=64)
    text = json.dumps({**KEEPS, "width": 64, "height": 64}).replace("PICTURE", encoded(Image.fromarray(init)))
    with urllib.request.urlopen(f"{server}/sdapi/v1/img2img", text.encode()) as response:
        result, *_ = json.load(response)["images"]
    made = Image.open(io.BytesIO(base64.b64decode(result)))
    assert made.mode == "RGBA"
    assert KEEP.label in made.info["parameters"]


@pytest.mark.parametrize(("request_", "path"), LAYERS, ids=[one["prompt"] for one, _ in LAYERS])
def test_requests_for_layers_run(server: str, request_: dict[str, Any], path: str) -> None:
    text = json.dumps(request_)
    for name, layer in (("PICTURE", Layer.BLENDED), ("MASK", Layer.FOREGROUND)):
        text = text.replace(name, encoded(Image.fromarray(picture(layer))))
    with urllib.request.urlopen(f"{server}/sdapi/v1/{path}", text.encode()) as response:
        answer = json.load(response)
    info = json.loads(answer["info"])
    (values,) = request_["script_args"]
    assert len(answer["images"]) == 2 + len(values.get("objects", ["the subject"]))
    assert "composite of" in info["infotexts"][0]
    files = info["extra_generation_params"].get("layerdiffusion_layers", [])
    assert [list(one) for one in files] == ([["psd"]] if "layers" in values else [])


def test_the_names_for_layers_are_those_of_the_script() -> None:
    rows = cells("name")
    shown = {name: line[2] for line in rows for name in re.findall(r"`(\w+)`", line[0])}
    assert set(shown) == set(layer_plan.NAMES)
    for name, default in layer_plan.ARGUMENTS:
        words = {layer_plan.SAME_SEED: "fixed", layer_plan.COMPOSITE: "composite"}
        if name == "kind":
            assert Asked.from_args([{"kind": shown[name], "objects": "a"}]).kind.value == default
        else:
            word = words.get(default) if isinstance(default, str) else None
            word = word or (default if isinstance(default, str) and default else json.dumps(default))
            assert shown[name] == word, name
