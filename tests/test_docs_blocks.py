"""Every code block of the documentation is run, or checked as far as it can be; none is passed over.

The blocks of a page are run in order, in a directory that is empty at the beginning, with a home and a state of its
own. What is done with a block depends on its language:

* ``python``: run. The blocks of a page share their names, as the lines of a script do.
* ``console``: the lines that begin with ``$ `` are run, by one bash. Where output is shown it has to be that, with
  ``...`` for what differs each time; the directory is shown as ``/home/deploy/shop``. A command that fails is a fault,
  unless ``echo $?`` comes next.
* ``toml``: loaded as a profile; what a profile needs and is not there is put in. One that has both tables stays as
  ``shop.toml``; the files that it names are made, and so is a directory to mirror with an ``index.html``.
* ``json``, ``sql``, ``yaml``, ``ini``: it parses, statements fit a journal, and the commands in it are there.
* ``text``: not looked at. No language at all: commands as in the README, ``make demo`` or ``$ ...``, which are checked.

Comments that readers do not see say what the blocks cannot, on lines of their own before them:

* ``<!-- blocks: server=ftp -->`` (or ``sftp``): from here on, the servers in the page's profiles are an embedded one,
  which has the login and the host key that they need; Python has it as ``server``.
* ``<!-- setup`` and Python up to ``-->``: run before what follows.
* ``<!-- block: file=blog.toml -->``: what the profile that follows is called.
* ``<!-- block: not a profile -->``: TOML of another kind.
* ``<!-- block: not run: reason -->``: for commands that need what a test does not have. Their options, targets and
  extras have to be there all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.block_checks import check_command
from tests.support.block_page import Page
from tests.support.blocks import PAGES, Block, Step, inline_commands, steps_in

STEPS = {path.name: steps_in(path) for path in PAGES}
BLOCKS = [step for steps in STEPS.values() for step in steps if isinstance(step, Block)]


class Reader:
    """Follows a page up to a block. What comes before it is followed once, whichever blocks are asked for."""

    def __init__(self, page: Page, steps: list[Step]) -> None:
        self._page = page
        self._waiting = steps
        self._faults: dict[Block, list[Exception]] = {}

    def read(self, block: Block) -> None:
        faults: list[Exception] = []  # those of a setup are told by the block behind it
        while block in self._waiting:
            step = self._waiting.pop(0)
            try:
                self._page.follow(step)
            except Exception as fault:  # noqa: BLE001 - whatever a block does is its fault, and the others go on
                faults.append(fault)
            if isinstance(step, Block):
                self._faults[step], faults = faults, []
        for found in self._faults[block]:
            raise found


@pytest.fixture(scope="module")
def reader_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Reader]]:
    readers: dict[str, Reader] = {}
    with ExitStack() as stack:

        def give(page: str) -> Reader:
            if page not in readers:
                folder: Path = tmp_path_factory.mktemp(page.partition(".")[0])
                readers[page] = Reader(stack.enter_context(Page(folder)), list(STEPS[page]))
            return readers[page]

        yield give


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block(block: Block, reader_of: Callable[[str], Reader]) -> None:
    reader_of(block.page).read(block)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_in_prose_are_there(path: Path) -> None:
    for command in inline_commands(path):
        check_command(re.sub(r"[][]", "", command), is_whole=False)
