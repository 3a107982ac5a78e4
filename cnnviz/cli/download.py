"""``cnnviz download``: fetch weights ahead, for a machine that will have no network."""

from __future__ import annotations

import click

from cnnviz.cli.console import put, say
from cnnviz.errors import WeightsError


@click.command(name="download")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only, and show no progress bar.")
def command(names: tuple[str, ...], quiet: bool) -> None:
    """Download weights of networks ahead of time and print where they are.

    They go to MXNet's cache folder ($MXNET_HOME/models, by default ~/.mxnet/models), which can be
    copied to a machine without network access. Weights that are already there are not downloaded
    again.
    """
    from cnnviz.models import zoo
    from cnnviz.models.zoo_weights import ensure_weights

    # A misspelled name is reported before the first half gigabyte is fetched.
    entries = [zoo.get(name) for name in dict.fromkeys(names)]
    failed: list[tuple[str, WeightsError]] = []
    for entry in entries:
        try:
            located = ensure_weights(
                entry,
                progress=not quiet,
                notify=None if quiet else say,
            )
        except WeightsError as error:
            failed.append((entry.name, error))
            if len(entries) > 1:
                say(f"{entry.name}: {error}")
        else:
            if not quiet:
                put(f"{entry.name}: {located.path} ({located.source})")
    if not failed:
        return
    if len(entries) == 1:
        raise failed[0][1]
    raise WeightsError(
        f"{len(failed)} of {len(entries)} networks could not be fetched: "
        f"{', '.join(name for name, _ in failed)}."
    )
