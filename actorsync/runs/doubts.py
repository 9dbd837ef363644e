"""What a run warns of before it begins: texts in its profile that are valid, and hardly do what they look like."""

from __future__ import annotations

import os
from collections.abc import Iterator

from actorsync.planning.doubts import Pattern, Tree, extension_doubts, pattern_doubts, place_doubt, secret_doubt
from actorsync.profile import EnvSecret, FileSecret, Place, Profile, Secret, SecretSource

__all__ = ["doubts_of"]


def doubts_of(profile: Profile) -> list[str]:
    """Return a line for each doubt, with the file and the key or the line. Looks up some names on the disk: blocks."""
    name = profile.target.where.rpartition(": ")[0]
    return [
        *(doubt for key, text in _places(profile) if (doubt := _at(key, place_doubt(text, _is_set)))),
        *(doubt for place in (profile.source, profile.target) for doubt in _secrets(place)),
        *_patterns(profile, name),
    ]


def _is_set(variable: str) -> bool:
    return variable in os.environ


def _at(key: str, doubt: str | None) -> str | None:
    return doubt and f"{key}: {doubt}"


def _patterns(profile: Profile, name: str) -> list[str]:
    sync = profile.sync
    file = sync.exclude_from
    lines = enumerate(file.lines, 1) if file else ()
    exclude = [Pattern(f"{file.path}:{number}", line, is_in_file=True) for number, line in lines] if file else []
    exclude += [Pattern(f"{name}: sync.exclude", line) for line in sync.exclude]
    include = [Pattern(f"{name}: sync.include", line) for line in sync.include]
    tree = Tree()
    if not profile.source.is_remote:
        root = profile.source.path
        tree = Tree(root, lambda path: os.path.lexists(os.path.join(root, path)))
    others = bool(sync.exclude_extensions)
    return [
        *pattern_doubts(exclude, include, others=others, tree=tree),
        *extension_doubts(f"{name}: sync.exclude-extensions", sync.exclude_extensions),
    ]


def _places(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield the keys that hold a path or a URL, and what is in them. What exists is meant as it is."""
    for table, place in (("source", profile.source), ("target", profile.target)):
        if place.is_remote:
            yield f"{place.where}.url", f"{place.user}@{place.host}/{place.path}"
        else:
            yield f"{place.where}.{'path' if table == 'source' else 'url'}", _missing(place.path)
        if place.known_hosts is not None:
            yield f"{place.where}.known-hosts", _missing(os.fspath(place.known_hosts))


def _missing(path: str) -> str:
    """Return a path at which nothing is; "" for one that exists."""
    return "" if os.path.lexists(path) else path


def _secrets(place: Place) -> Iterator[str]:
    named = {"password": place.password, "passphrase": place.passphrase, "proxy-password": place.proxy_password}
    for noun, source in (*named.items(), *((f"options.{name}", it) for name, it in place.options.secrets)):
        if doubt := _secret(noun.removeprefix("options."), source):
            yield f"{place.where}.{noun}: {doubt}"


def _secret(noun: str, source: SecretSource | None) -> str | None:
    match source:
        case Secret():
            return secret_doubt(noun, source.reveal(), _is_set)
        case EnvSecret() if doubt := secret_doubt(noun, source.variable, _is_set):
            return doubt
        case FileSecret():
            return place_doubt(_missing(os.fspath(source.path)), _is_set)
    return None
