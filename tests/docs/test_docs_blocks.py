"""Every code block of the documentation is run, or checked as far as possible.

The blocks of a page run in order, in a new empty directory with its own home and state. The language of a block decides
what happens to it:

* ``python``: it is run. The blocks of a page share their names, like the lines of a script.
* ``console``: lines that begin with ``$ `` are run in one bash. Their output must equal the output on the page, where
  ``...`` stands for any text; the directory is shown as ``/home/deploy/shop``. A failing command is a fault, unless
  ``echo $?`` follows.
* ``toml``: it is loaded as a profile, completed with required keys. A profile with both tables stays as ``shop.toml``.
  The files that it refers to are made, and a source directory with an ``index.html``.
* ``json``, ``sql``, ``yaml``, ``ini``: it must parse. SQL must fit the schema of a journal, and commands must exist.
* ``text``: it is not checked. A block without a language has commands as in the README, ``make demo`` or ``$ ...``,
  which are checked.

Hidden comments, on lines of their own before a block, add what a block cannot say:

* ``<!-- blocks: server=ftp -->`` (or ``sftp``): from here on, an embedded server replaces the servers in all profiles
  of the page. It accepts their login. In Python it is ``server``.
* ``<!-- setup``, then Python code up to ``-->``: the code is run before the next block.
* ``<!-- block: file=blog.toml -->``: the file name of the next profile.
* ``<!-- block: not a profile -->``: the next block is other TOML.
* ``<!-- block: not run: reason -->``: the next block has commands that a test cannot run. Their options, targets and
  extras must still exist.
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
    """Run a page to its end; return the error of each block, or "". An error in a setup counts for its block."""
    faults: dict[str, str] = {}
    pending = ""
    with Page(folder) as reader:
        for step in steps:
            try:
                reader.follow(step)
            except Exception:  # noqa: BLE001 - any error is the result of this block, and the next blocks still run
                pending += traceback.format_exc()
            if isinstance(step, Block):
                faults[step.name], pending = pending, ""
    return faults


@pytest.fixture(scope="session")
def faults_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Run each page once: in the worker that first needs a block of it. Other workers wait for the results."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "docs-blocks"
    shared.mkdir(exist_ok=True)

    def results(page: str) -> dict[str, str]:
        with open(shared / f"{page}.json", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            if not text:
                text = json.dumps(follow(STEPS[page], tmp_path_factory.mktemp(page.partition(".")[0])))
                file.write(text)
        return dict(json.loads(text))

    return results


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block_is_correct(block: Block, faults_of: Callable[[str], dict[str, str]]) -> None:
    fault = faults_of(block.page)[block.name]
    assert not fault, fault


#: Pages whose commands have to be right. Those in mistakes.md are wrong; tests/cli/test_mistakes.py makes each of them.
PROSE = [path for path in PAGES if path.name != "mistakes.md"]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_commands_in_prose_exist(path: Path) -> None:
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
    "unknown command: actorsync fly": "<!-- block: not run: so -->\n```console\n$ actorsync fly\n```",
    "unknown extra: moon": "<!-- block: not run: so -->\n```console\n$ pip install 'actorsync[moon]'\n```",
    "nowhere": "<!-- block: not run: so -->\n```console\n$ make nowhere\n```",
    "unknown program: frobnicate": "<!-- block: not run: so -->\n```console\n$ frobnicate | cat\n```",
    "cannot be marked": "<!-- block: not run: so -->\n```python\n1\n```",
    "exit code 1": "```console\n$ false\n```",
    "is not the output on the page": "```console\n$ echo one\ntwo\n```",
    "a line before the first command": "```console\nwithout a dollar\n```",
    "JSONDecodeError": "```json\n{\n```",
    "no such table: elsewhere": "```sql\nSELECT 1; SELECT * FROM elsewhere\n```",
    "No such option '--slow'": "```ini\n[Service]\nExecStart=/usr/bin/actorsync run --slow a.toml\n```",
    "Missing argument 'PLAN'": "```yaml\njobs:\n  one:\n    steps:\n      - run: actorsync apply x\n```",
    "ModuleNotFoundError": "<!-- setup\nimport nothing_of_that_name\n-->\n```text\nnever mind\n```",
}


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_block_is_reported(reason: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(WRONG[reason])
    (fault,) = follow(steps_in(tmp_path / "page.md"), tmp_path / "folder").values()
    assert reason in fault


def test_comment_without_a_block_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- block: file=x.toml -->\n\nSome words.\n\n```text\n```\n")
    with pytest.raises(ValueError, match="no block follows the comment"):
        steps_in(tmp_path / "page.md")


def test_correct_blocks_pass(tmp_path: Path) -> None:
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
