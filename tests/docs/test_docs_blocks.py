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

* ``<!-- blocks: server=ftp -->`` (or ``sftp``): from here on, the servers in the profiles of the page, those before it
  too, are an embedded one, which has the login and the host key that they need; Python has it as ``server``.
* ``<!-- setup`` and Python up to ``-->``: run before what follows.
* ``<!-- block: file=blog.toml -->``: what the profile that follows is called.
* ``<!-- block: not a profile -->``: TOML of another kind.
* ``<!-- block: not run: reason -->``: for commands that need what a test does not have. Their options, targets and
  extras have to be there all the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.docs.block_checks import check_command
from tests.support.docs.block_page import Page
from tests.support.docs.blocks import PAGES, Block, Step, inline_commands, steps_in

STEPS = {path.name: steps_in(path) for path in PAGES}
BLOCKS = [step for steps in STEPS.values() for step in steps if isinstance(step, Block)]


def follow(steps: Sequence[Step], folder: Path) -> dict[str, str]:
    """Follow a page to its end; what was wrong with a block, by the block's name. A setup's fault is its block's."""
    faults: dict[str, str] = {}
    pending = ""
    with Page(folder) as reader:
        for step in steps:
            try:
                reader.follow(step)
            except Exception:  # noqa: BLE001 - whatever a block does is its fault, and the others go on
                pending += traceback.format_exc()
            if isinstance(step, Block):
                faults[step.name], pending = pending, ""
    return faults


@pytest.fixture(scope="session")
def faults_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Follow each page once: the worker that first asks for a block of it does, and the others wait for that."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "docs-blocks"
    shared.mkdir(exist_ok=True)

    def give(page: str) -> dict[str, str]:
        with open(shared / f"{page}.json", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            if not text:
                text = json.dumps(follow(STEPS[page], tmp_path_factory.mktemp(page.partition(".")[0])))
                file.write(text)
        return dict(json.loads(text))

    return give


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block(block: Block, faults_of: Callable[[str], dict[str, str]]) -> None:
    fault = faults_of(block.page)[block.name]
    assert not fault, fault


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_in_prose_are_there(path: Path) -> None:
    for command in inline_commands(path):
        check_command(re.sub(r"[][]", "", command), is_whole=False)


WRONG = {
    "a block without a language": "```\nsome text\n```",
    "of cobol": "```cobol\nMOVE A TO B\n```",
    "unknown key; did you mean sync.delete": "```toml\n[sync]\ndelte = true\n```",
    "whole number from 1 to 64": "```toml\n[target]\nlanes = 65\n```",
    "ZeroDivisionError": "```python\n1 / 0\n```",
    "NameError": "```python\nname\n```",
    "No such option '--fast'": "<!-- block: not run: so -->\n```console\n$ actorsync run --fast a.toml\n```",
    "there is no command fly": "<!-- block: not run: so -->\n```console\n$ actorsync fly\n```",
    "there is no extra moon": "<!-- block: not run: so -->\n```console\n$ pip install 'actorsync[moon]'\n```",
    "nowhere": "<!-- block: not run: so -->\n```console\n$ make nowhere\n```",
    "is not known: frobnicate": "<!-- block: not run: so -->\n```console\n$ frobnicate | cat\n```",
    "cannot be marked": "<!-- block: not run: so -->\n```python\n1\n```",
    "exit code 1": "```console\n$ false\n```",
    "and not": "```console\n$ echo one\ntwo\n```",
    "comes before the first command": "```console\nwithout a dollar\n```",
    "JSONDecodeError": "```json\n{\n```",
    "no such table: elsewhere": "```sql\nSELECT 1; SELECT * FROM elsewhere\n```",
    "No such option '--slow'": "```ini\n[Service]\nExecStart=/usr/bin/actorsync run --slow a.toml\n```",
    "Missing argument 'PROFILE'": "```yaml\njobs:\n  one:\n    steps:\n      - run: actorsync run\n```",
    "ModuleNotFoundError": "<!-- setup\nimport nothing_of_that_name\n-->\n```text\nnever mind\n```",
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_is_wrong_is_found(reason: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(WRONG[reason])
    (fault,) = follow(steps_in(tmp_path / "page.md"), tmp_path / "folder").values()
    assert reason in fault


def test_a_mark_without_a_block_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- block: file=x.toml -->\n\nSome words.\n\n```text\n```\n")
    with pytest.raises(ValueError, match="no block behind the comment"):
        steps_in(tmp_path / "page.md")


def test_what_is_right_passes(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(RIGHT)
    faults = follow(steps_in(tmp_path / "page.md"), tmp_path / "folder")
    assert len(faults) == 6
    assert not any(faults.values()), faults


RIGHT = """
<!-- blocks: server=ftp -->

```toml
[target]
url = "ftp://you@ftp.example.com/www"
password = { env = "ANY" }

[source]
path = "site"
```

```console
$ actorsync run shop.toml
mirroring /home/deploy/shop/site to ftp://you@ftp.example.com/www, 4 connections
in sync: 1 copied (15 B), ...
$ actorsync run nothing.toml
actorsync: nothing.toml: no such file; ...
$ echo $?
2
$ echo one \\
> two
one two
```

1. In a list:

   ```python
   names = sorted(path.name for path in server.root.rglob("*"))
   ```

   ```python
   assert names == ["index.html", "www"]
   ```

```sql
SELECT path FROM tree WHERE owner = 'ours'
```

<!-- block: not a profile -->
```toml
[tool.ruff]
line-length = 120
```
"""
