"""Reference pages in Markdown, made from the code.

What they say depends on nothing but the code: neither on the terminal, nor on the machine, nor on
which weights it has.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from cnnviz.attribution import DEFAULT_METHODS, METHODS, choose_methods
from cnnviz.cli import COMMANDS, group
from cnnviz.cli.methods import description_of
from cnnviz.cli.methods import record as record_of_method
from cnnviz.cli.metrics import record as record_of_metric
from cnnviz.comparison import records as comparison_records
from cnnviz.graph.graph import shape_text
from cnnviz.metrics.registry import METRICS, choose_metrics
from cnnviz.models import zoo
from cnnviz.models.config import ModelConfig
from cnnviz.models.resolve import find_model
from cnnviz.runs import evaluation_records, records
from cnnviz.runs.request import ModelOptions

_WIDTH = 100

#: Where the papers can be read that methods and metrics name (``Method.paper``).
_PAPERS = {
    "Selvaraju et al. 2017": "https://arxiv.org/abs/1610.02391",
    "Chattopadhay et al. 2018": "https://arxiv.org/abs/1710.11063",
    "Fu et al. 2020": "https://arxiv.org/abs/2008.02312",
    "Draelos & Carin 2020": "https://arxiv.org/abs/2011.08891",
    "Muhammad & Yeasin 2020": "https://arxiv.org/abs/2008.00299",
    "Wang et al. 2020": "https://arxiv.org/abs/1910.01279",
    "Springenberg et al. 2015": "https://arxiv.org/abs/1412.6806",
    "Simonyan et al. 2014": "https://arxiv.org/abs/1312.6034",
    "Zeiler & Fergus 2014": "https://arxiv.org/abs/1311.2901",
    "Shrikumar et al. 2016": "https://arxiv.org/abs/1605.01713",
    "Smilkov et al. 2017": "https://arxiv.org/abs/1706.03825",
    "Sundararajan et al. 2017": "https://arxiv.org/abs/1703.01365",
    "Petsiuk et al. 2018": "https://arxiv.org/abs/1806.07421",
    "Zhang et al. 2018": "https://arxiv.org/abs/1608.00507",
    "Arras et al. 2022": "https://arxiv.org/abs/2003.07258",
    "Zhou et al. 2016": "https://arxiv.org/abs/1512.04150",
    "Chalasani et al. 2020": "https://arxiv.org/abs/1810.06583",
    "Hurley & Rickard 2009": "https://arxiv.org/abs/0811.4706",
    "Bhatt et al. 2020": "https://arxiv.org/abs/2005.00631",
    "Sixt et al. 2020": "https://arxiv.org/abs/1912.09818",
}

#: What families of networks are called, and which layer of them is explained by default.
_FAMILIES = {
    "alexnet": ("AlexNet", "the last convolution"),
    "vgg": ("VGG", "the last convolution, or its batch norm"),
    "resnet_v1": ("ResNet v1", "the output of the last block"),
    "resnet_v2": ("ResNet v2", "the layer that the final pooling reads"),
    "densenet": ("DenseNet", "the layer that the final pooling reads"),
    "squeezenet": ("SqueezeNet", "the layer that feeds the classifier's convolution"),
    "inception": ("Inception", "the last concatenation"),
    "mobilenet_v1": ("MobileNet v1", "the batch norm of the last convolution"),
    "mobilenet_v2": ("MobileNet v2", "the batch norm of the last convolution"),
    "demo": ("Embedded in cnnviz", "the batch norm of the last convolution"),
}


def commands_page() -> str:
    """``cli.md``: every command with its options."""
    shared = {field.name for field in dataclasses.fields(ModelOptions)} - {"model"}
    about_networks: dict[str, None] = {}
    sections: list[str] = []
    for name in COMMANDS:
        with click.Context(group, info_name="cnnviz") as parent:
            command = group.get_command(parent, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=parent) as ctx:
                usage = [ctx.command_path, *command.collect_usage_pieces(ctx)]
                lines = {option: _option_line(option, ctx) for option in _options(command)}
        own = [line for option, line in lines.items() if option.name not in shared]
        sections += [f"## cnnviz {name}", f"```\n{' '.join(usage)}\n```"]
        sections += [inspect.cleandoc(command.help or ""), "\n".join(own)]
        others = [option for option in lines if option.name in shared]
        if others:
            about_networks.update(dict.fromkeys(lines[option] for option in others))
            names = ", ".join(f"`{max(option.opts, key=len)}`" for option in others)
            sections.append(_wrapped(f"[About the network](#about-the-network): {names}."))
    return _page(
        "Command reference",
        "`cnnviz COMMAND --help` (or `-h`) prints the same; `cnnviz --version` prints the version.",
        "\n".join(f"- [{name}](#cnnviz-{name})" for name in COMMANDS),
        _exit_statuses(),
        *sections,
        "## About the network",
        "What the network is, and where it runs: the same options wherever they are taken.",
        "\n".join(about_networks),
    )


def methods_page() -> str:
    """``methods.md``: every method, with its formula, paper, options and description."""
    rows = []
    sections = []
    for method in choose_methods(list(METHODS)):
        about = record_of_method(method)
        needs = ", ".join(about["needs"])
        rows.append((f"`{method.name}`", method.formula, _cited(method.paper), needs))
        sections.append(f"## {method.name}")
        facts = [f"Paper: {method.paper}", f"Formula: {method.formula}"]
        facts += [f"Needs: {needs}", f"Cost: {method.cost}"]
        facts += [] if method.class_specific else ["The same maps for every target"]
        facts.append(
            "Maps: " + ", ".join(f"`{key}` ({how})" for key, how in method.map_kinds.items())
        )
        sections.append("\n".join(_bullet(fact) for fact in facts))
        if about["options"]:
            sections.append("Options:")
            sections.append("\n".join(_bullet(_method_option(own)) for own in about["options"]))
        sections.append(description_of(method).replace("::\n", ":\n"))
    usual = ", ".join(f"`{name}`" for name in DEFAULT_METHODS)
    return _page(
        "Methods",
        _wrapped(
            f"`--method NAME` takes any of these; by default {usual}. "
            "[How to read the maps](reading-maps.md) says what they show and what they do not."
        ),
        _table(("method", "formula", "paper", "needs"), rows),
        _wrapped(
            "y is the logit, A a channel of the target layer's output, x the input. *Layer* is "
            "the output of the target layer (`--layer`), of a transformer the tokens that are "
            "places in the image; *gradient* is the gradient there or at the input; *scores* are "
            "the network's predictions for changed inputs. The cost is what a method needs beyond "
            "the one forward and backward pass that all chosen methods, layers and targets share."
        ),
        "Options are given as `-O NAME=VALUE`, or as `-O METHOD.NAME=VALUE` for one method only.",
        *sections,
    )


def metrics_page() -> str:
    """``metrics.md``: every metric, with its formula, paper, options and description."""
    rows = []
    sections = []
    for metric in choose_metrics(list(METRICS), regions=True):
        about = record_of_metric(metric)
        good = {"higher": "high", "lower": "low", None: "neither"}[metric.direction]
        rows.append((f"`{metric.name}`", metric.group, good, _cited(metric.paper)))
        sections.append(f"## {metric.name}")
        facts = [f"Paper: {metric.paper}", f"Formula: {metric.formula}"]
        facts += [f"Good: {good}", f"Cost of one map: {metric.cost}"]
        facts += ["Needs `--boxes` or `--masks`"] if metric.needs_region else []
        sections.append("\n".join(map(_bullet, facts)))
        if about["options"]:
            sections.append("Options:")
            sections.append("\n".join(_bullet(_method_option(own)) for own in about["options"]))
        sections.append(description_of(metric).replace("::\n", ":\n"))
    return _page(
        "Metrics",
        _wrapped(
            "`cnnviz evaluate --metric NAME` takes any of these; by default all that can be "
            "measured. [Evaluating maps](evaluating.md) says what they mean and what they do not."
        ),
        _table(("metric", "group", "good", "paper"), rows),
        "Options are given as `--metric-option NAME=VALUE`, or as "
        "`--metric-option METRIC.NAME=VALUE` for one metric only.",
        *sections,
    )


def networks_page() -> str:
    """``networks.md``: every named network."""
    sections = []
    for family, members in groupby(zoo.entries(), key=lambda entry: entry.family):
        title, explained = _FAMILIES[family]
        rows = []
        for entry in members:
            layer = find_model(
                ModelConfig(entry.name), needs_weights=False
            ).architecture.default_layer
            assert layer is not None  # each of the zoo has one
            published = entry.published
            rows.append(
                (
                    f"`{entry.name}`",
                    f"{entry.parameters:,}",
                    "none" if published is None else f"{published.size / 1e6:.0f} MB",
                    f"{entry.input.width}×{entry.input.height}",
                    f"`{layer.name}`, {shape_text(layer.shape)}",
                    "" if published is None or published.hub is None else f"`{published.hub}`",
                )
            )
        columns = ("network", "parameters", "download", "input", "default layer", "Hugging Face")
        sections += [f"## {title}", f"Explained by default: {explained}.", _table(columns, rows)]
    return _page(
        "Networks",
        _wrapped(
            "`--model NAME` takes any of these: the classifiers of MXNet's Gluon model zoo, and "
            "`demo`, whose weights are part of cnnviz. [Your own network](own-networks.md) says "
            "where weights are looked for and how to explain other networks. `cnnviz models` also "
            "shows which weights this machine has."
        ),
        *sections,
    )


def manifest_page() -> str:
    """``manifest.md``: every record of the manifest, with its keys."""
    return _records_page("The manifest", records.__doc__, records.RECORDS)


def evaluation_page() -> str:
    """``evaluation.md``: every record of an evaluation, with its keys."""
    text = evaluation_records.__doc__
    return _records_page("evaluation.json", text, evaluation_records.EVALUATION_RECORDS)


def comparison_page() -> str:
    """``comparison.md``: every record of a comparison, with its keys."""
    text = comparison_records.__doc__
    return _records_page("comparison.json", text, comparison_records.COMPARISON_RECORDS)


def _records_page(title: str, text: str | None, described: Sequence[type]) -> str:
    parts = [_as_markdown(paragraph) for paragraph in (text or "").strip().split("\n\n")]
    for record in described:
        about, _, attributes = inspect.cleandoc(record.__doc__ or "").partition("Attributes:")
        named = re.split(r"^    (\w+): ", attributes, flags=re.MULTILINE)[1:]
        types = {name: _json_type(kind, described) for name, kind in get_type_hints(record).items()}
        keys = (
            _bullet(f"`{name}` ({types[name]}): {_as_markdown(' '.join(text.split()))}")
            for name, text in zip(named[::2], named[1::2], strict=True)
        )
        parts += [f"## {_record_name(record)}", _as_markdown(about.strip()), "\n".join(keys)]
    return _page(title, *parts)


def _record_name(record: type) -> str:
    """``GroundTruthRecord`` as ``ground truth``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", record.__name__.removesuffix("Record")).lower()


def _json_type(kind: Any, here: Sequence[type]) -> str:
    """What a field is in JSON, in words; records that are not described here are the manifest's."""
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        name = _record_name(kind)
        page = "" if kind in here else "manifest.md"
        return f"[{name}]({page}#{name.replace(' ', '-')})"
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"list{count}: {_json_type(inner[0], here)}"
    if type(None) in inner:
        return " or ".join(_json_type(one, here) for one in inner)
    if origin is Literal:
        return "text"
    if inner:
        return f"object: {_json_type(inner[1], here)} by key"
    return _JSON_TYPES[kind]


_JSON_TYPES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}


#: What makes each page.
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands_page,
    "methods.md": methods_page,
    "networks.md": networks_page,
    "metrics.md": metrics_page,
    "manifest.md": manifest_page,
    "evaluation.md": evaluation_page,
    "comparison.md": comparison_page,
}


def _page(title: str, *parts: str) -> str:
    mark = "<!-- Made from the code: change that, then run `python -m cnnviz.docs`. -->"
    text = "\n\n".join([mark, f"# {title}", *parts])
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _exit_statuses() -> str:
    """What stands at the end of ``cnnviz --help``, as a list."""
    title, _, statuses = (group.epilog or "").partition(": ")
    return f"{title}:\n\n" + "\n".join(map(_bullet, statuses.rstrip(".").split("; ")))


def _options(command: click.Command) -> list[click.Option]:
    """Those that its help lists, but for ``--help`` itself."""
    return [own for own in command.params if isinstance(own, click.Option) and not own.hidden]


def _option_line(option: click.Option, ctx: click.Context) -> str:
    """An option as its help has it, whatever the width of the terminal."""
    record = option.get_help_record(ctx)
    assert record is not None  # hidden ones have none
    return _bullet(f"`{record[0]}`: {record[1]}")


def _method_option(option: dict[str, Any]) -> str:
    text = f"`{option['name']}={option['default']}`: {option['help']}"
    if not all(choice in option["help"] for choice in option["choices"]):
        text += f" ({', '.join(option['choices'])})"
    return text


def _cited(paper: str) -> str:
    """Papers with links, and the places in them."""
    cited = []
    for one in paper.split("; "):
        name, comma, place = one.partition(",")
        address = _PAPERS.get(name)
        cited.append(f"{name if address is None else f'[{name}]({address})'}{comma}{place}")
    return "; ".join(cited)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    lines = (" | ".join(cell.replace("|", r"\|") for cell in row) for row in cells)
    return "\n".join(f"| {line} |" for line in lines)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False))


def _bullet(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "- " + "\n  ".join(lines)


def _as_markdown(paragraph: str) -> str:
    """A paragraph of a docstring in reStructuredText."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", paragraph.replace("``", "`"))
    if all(line.startswith("    ") for line in text.splitlines()):
        return f"```\n{textwrap.dedent(text)}\n```"
    return text.replace("::", ":") if text.endswith("::") else text
