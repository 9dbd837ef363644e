"""docs/profile.md agrees with the keys, and with the errors that the code raises."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from actorsync.errors import ProfileError
from actorsync.profile import (
    load_profile,
)
from tests.support.docs import reference
from tests.support.profile_text import DESCRIBED, MINIMAL, toml
from tests.support.root import ROOT


class TestReference:
    """``docs/profile.md`` agrees with the code."""

    TEXT = (ROOT / "docs" / "profile.md").read_text()

    def test_page_has_a_section_for_every_key_and_no_other(self) -> None:
        assert re.findall(r"^### `(.*)`$", self.TEXT, re.MULTILINE) == DESCRIBED

    def test_every_key_has_description_example_and_type(self) -> None:
        assert reference.faults() == []

    def test_generated_parts_of_the_page_are_up_to_date(self) -> None:
        assert reference.fill(self.TEXT) == self.TEXT, "python -m tests.support.docs.reference brings it up to date"

    def test_missing_section_is_added_after_the_key_before(self) -> None:
        title = "\n### `sync.every`\n"
        before, _, rest = self.TEXT.partition(title)
        cut = before + rest[rest.index("\n### ") :]
        assert title not in cut
        filled = reference.fill(cut)
        assert re.findall(r"^### `(.*)`$", filled, re.MULTILINE) == DESCRIBED
        assert f"{title}{reference.head('sync.every')}\n\n" in filled

    @pytest.mark.parametrize(
        ("table", "text", "line"), re.findall(r"^\| `\[(.*)\] (.*)` \| `(.*)` \|$", TEXT, re.MULTILINE)
    )
    def test_error_lines(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, text: str, line: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        document = tomllib.loads(MINIMAL)
        if text.startswith("url"):
            del document["target"]["password"]
        document.setdefault(table, {}).update(tomllib.loads(text))
        path = Path("shop.toml")
        path.touch(0o644)
        path.chmod(0o644)
        path.write_text("\n".join(f"{toml(name)} = {toml(keys)}" for name, keys in document.items()))
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        assert str(caught.value) == line
