"""Publishing over SFTP, and the way back.

With ``hardlink@openssh.com`` and ``posix-rename@openssh.com`` the old file gets its second name first, and then the new
one replaces it: the final name is never missing. Otherwise the old file is renamed aside, and SFTP's own rename gives
the new one its name: it replaces nothing, so it is refused where the old file could not be set aside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.releases import Publication, Published
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.paths import aside_of
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.planning.publishing.steps import BackStep, Seen, Step, is_alike, step_back, step_to_publish
from actorsync.protocols.sftp import dialogues
from actorsync.protocols.sftp import releases as ask
from actorsync.protocols.sftp.replies import Attributes, Status, entry_of

__all__ = ["Publisher"]


class Publisher:
    """Publishes staged files, and takes that back."""

    def __init__(self, connection: SftpConnection, spellings: SftpSpellings) -> None:
        self._connection = connection
        self._spellings = spellings
        self._run = connection.requests.run

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish files: looks, links, renames, and looks again, each for all files in few flights."""
        results: dict[int, Published | OperationRefused] = dict(await self._refusals(items))
        steps: dict[int, Step] = {}
        for index, seen in (await self._look({i: it for i, it in enumerate(items) if i not in results})).items():
            if isinstance(seen, OperationRefused):
                results[index] = seen
                continue
            item = items[index]
            try:
                steps[index] = step_to_publish(seen, item.staged.size, sets_aside=item.aside is not None)
            except OperationRefused as refused:
                results[index] = refused
        linked = await self._link({i: items[i] for i, step in steps.items() if step is Step.SET_ASIDE})
        refusals = await self._rename({i: items[i] for i in steps}, steps, linked)
        looked = await self._run(ask.look([self._names(items[index]) for index in steps]))
        for index, shown in zip(steps, looked, strict=True):
            results[index] = await self._result(items[index], shown, refusals.get(index), is_linked=index in linked)
        return [results[index] for index in range(len(items))]

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take files back: looks, links, renames, and looks again, each for all files in few flights."""
        results: dict[int, Entry | OperationRefused | None] = dict(await self._refusals(items))
        steps: dict[int, tuple[BackStep, Seen]] = {}
        for index, seen in (await self._look({i: it for i, it in enumerate(items) if i not in results})).items():
            if isinstance(seen, OperationRefused):
                results[index] = seen
                continue
            try:
                steps[index] = step_back(seen, items[index].staged.size), seen
            except OperationRefused as refused:
                results[index] = refused
        await self._take_back({index: items[index] for index in steps}, steps)
        looked = await self._run(ask.look([self._names(items[index]) for index in steps]))
        for (index, (step, seen)), shown in zip(steps.items(), looked, strict=True):
            final = entry_of(items[index].staged.path, shown.final) if isinstance(shown.final, Attributes) else None
            gets_old = step in {BackStep.TAKE_BACK, BackStep.RESTORE} and seen.aside is not None
            if gets_old and isinstance(shown.aside, Attributes) and not _is_file_of(final, seen.aside):
                results[index] = OperationRefused("its old file could not be put back", retry=True)
            elif step is BackStep.TAKE_BACK and seen.aside is None and final is not None:
                results[index] = OperationRefused("the server did not take it back", retry=True)
            else:
                results[index] = final if final is not None and final.kind is not Kind.DIRECTORY else None
        return [results[index] for index in range(len(items))]

    # Looking.

    def _names(self, item: Publication) -> ask.Names:
        absolute = self._connection.absolute
        aside = None if item.aside is None else absolute(item.aside)
        return ask.Names(absolute(item.staged.temporary), absolute(item.staged.path), aside)

    async def _refusals(self, items: Sequence[Publication]) -> dict[int, OperationRefused]:
        """Return the files that cannot be published or taken back, as their paths show."""
        connection = self._connection
        paths = [[it.staged.temporary, it.staged.path, *([] if it.aside is None else [it.aside])] for it in items]
        links = await connection.find_links(dict.fromkeys(parent_of(path) for of in paths for path in of))
        refusals: dict[int, OperationRefused] = {}
        for index, (item, of) in enumerate(zip(items, paths, strict=True)):
            link = next((links[parent_of(path)] for path in of if parent_of(path) in links), None)
            why = next(filter(None, map(connection.why_unusable, of)), None)
            if link is not None:
                refusals[index] = link_refusal(link)
            elif why:
                refusals[index] = OperationRefused(why)
            elif (taken := await self._spellings.claim(item.staged.path)) is not None:
                refusals[index] = taken
        return refusals

    async def _look(self, items: Mapping[int, Publication]) -> dict[int, Seen | OperationRefused]:
        looked = await self._run(ask.look([self._names(item) for item in items.values()]))
        # Some servers say "failure" of what does not exist: then a listing decides.
        unsure = {
            path
            for item, it in zip(items.values(), looked, strict=True)
            for path, shown in zip(_absolute(self._names(item)), (it.temporary, it.final, it.aside), strict=True)
            if path is not None and isinstance(shown, Status) and not shown.is_missing
        }
        gone = dict(zip(unsure, await self._run(dialogues.are_gone([*unsure])), strict=True))
        seen: dict[int, Seen | OperationRefused] = {}
        for (index, item), it in zip(items.items(), looked, strict=True):
            names = _absolute(self._names(item))
            if any(path is not None and gone.get(path) is False for path in names):
                seen[index] = OperationRefused("the server does not tell what has its names", retry=True)
            else:
                seen[index] = self._seen(item, it)
        return seen

    def _seen(self, item: Publication, looked: ask.Looked) -> Seen:
        staged = item.staged
        temporary, final = _entry(staged.temporary, looked.temporary), _entry(staged.path, looked.final)
        aside = None if item.aside is None or looked.aside is None else _entry(item.aside, looked.aside)
        # The protocol shows no inodes. Links are made by this class alone, right before the rename.
        may_be_linked = self._connection.server.links and aside is not None and final is not None
        is_linked = may_be_linked and aside is not None and is_alike(final, aside.size, aside.mtime_ns)
        is_new = is_alike(final, staged.size, staged.mtime_ns)
        return Seen(temporary, final, aside, is_new=is_new, is_linked=is_linked and not is_new)

    # Forth.

    async def _link(self, items: Mapping[int, Publication]) -> set[int]:
        """Add second names to old files, and return those that have them."""
        if not self._connection.server.links:
            return set()
        names = [self._names(item) for item in items.values()]
        pairs = [(it.final, it.aside) for it in names if it.aside is not None]
        return {index for index, status in zip(items, await self._run(ask.link(pairs)), strict=True) if status.is_ok}

    async def _rename(
        self, items: Mapping[int, Publication], steps: Mapping[int, Step], linked: set[int]
    ) -> dict[int, Status]:
        """Rename temporaries, and return what the server said of each that it refused."""
        names = {index: self._names(item) for index, item in items.items()}
        replaces, in_order = self._connection.server.replaces, self._connection.requests.host.keeps_order
        over = [i for i, step in steps.items() if i in linked or (step is Step.RENAME and replaces)]
        pairs_over = [(names[i].temporary, names[i].final) for i in over]
        statuses = dict(zip(over, await self._run(ask.rename(pairs_over, over=True)), strict=True))
        apart = [i for i, step in steps.items() if step is not Step.NONE and i not in statuses]
        pairs: list[list[tuple[str, str]]] = []
        for index in apart:
            aside = names[index].aside
            moves_old = steps[index] is Step.SET_ASIDE and aside is not None
            pairs.append([(names[index].final, aside)] if moves_old and aside is not None else [])
            pairs[-1].append((names[index].temporary, names[index].final))
        for index, done in zip(apart, await self._run(ask.rename_in_steps(pairs, in_order=in_order)), strict=True):
            statuses[index] = next((status for status in done if not status.is_ok), done[-1])
        return {index: status for index, status in statuses.items() if not status.is_ok}

    async def _result(
        self, item: Publication, shown: ask.Looked, refusal: Status | None, *, is_linked: bool
    ) -> Published | OperationRefused:
        """Return what a file has come to. One that is refused is left as it was."""
        staged = item.staged
        final, has_old = _entry(staged.path, shown.final), isinstance(shown.aside, Attributes)
        if not isinstance(shown.temporary, Attributes):
            if final is not None and (final.kind, final.size) == (Kind.FILE, staged.size):
                return Published(final, has_old)
            reported = "nothing" if final is None else f"{final.size} bytes"
            return OperationRefused(f"after the rename the server reports {reported} for the final name", retry=True)
        names = self._names(item)
        if item.aside is None and refusal is not None and final is not None and final.kind is not Kind.DIRECTORY:
            return await self._replace(staged)
        if is_linked and names.aside is not None:
            await self._run(dialogues.remove_files([names.aside]))
        elif final is None and has_old and names.aside is not None:
            (back,) = await self._run(ask.rename([(names.aside, names.final)], over=False))
            if not back.is_ok:
                return OperationRefused(f"{refusal}; and its old file cannot be put back: {back}", retry=True)
        return OperationRefused(f"the server refused the rename to the final name: {refusal or 'it has not done it'}")

    async def _replace(self, staged: Staged) -> Published | OperationRefused:
        """Replace a file on a server that does not: the old one is set aside, and removed."""
        aside = self._connection.absolute(aside_of(staged.temporary))
        names = self._names(Publication(staged))
        steps = [[(names.final, aside), (names.temporary, names.final)]]
        ((*_, status),) = await self._run(ask.rename_in_steps(steps, in_order=False))
        (shown,) = await self._run(ask.look([names]))
        final = _entry(staged.path, shown.final)
        if isinstance(shown.temporary, Attributes) or final is None:
            await self._run(ask.rename([(aside, names.final)], over=False))
            return OperationRefused(f"the server refused the rename to the final name: {status}")
        await self._run(dialogues.remove_files([aside]))
        return Published(final)

    # Back.

    async def _take_back(self, items: Mapping[int, Publication], steps: Mapping[int, tuple[BackStep, Seen]]) -> None:
        names = {index: self._names(item) for index, item in items.items()}
        server, host = self._connection.server, self._connection.requests.host
        drops = [aside for i, (step, _) in steps.items() if step is BackStep.DROP and (aside := names[i].aside)]
        await self._run(dialogues.remove_files(drops))
        taken = [i for i, (step, _) in steps.items() if step is BackStep.TAKE_BACK]
        over = [i for i, (step, seen) in steps.items() if step is BackStep.RESTORE and seen.final is not None]
        if server.links:
            both = [i for i in taken if steps[i][1].aside is not None]
            statuses = await self._run(ask.link([(names[i].final, names[i].temporary) for i in both]))
            over += [i for i, status in zip(both, statuses, strict=True) if status.is_ok]
        elif over:  # the new file has both of its names, and no rename replaces it
            await self._run(dialogues.remove_files([names[i].final for i in over]))
        pairs = [(aside, names[i].final) for i in over if (aside := names[i].aside)]
        await self._run(ask.rename(pairs, over=server.links))
        apart = [
            i for i, (step, _) in steps.items() if step in {BackStep.TAKE_BACK, BackStep.RESTORE} and i not in over
        ]
        renames: list[list[tuple[str, str]]] = []
        for index in apart:
            of, aside = names[index], names[index].aside
            renames.append([(of.final, of.temporary)] if steps[index][0] is BackStep.TAKE_BACK else [])
            if aside is not None and steps[index][1].aside is not None:
                renames[-1].append((aside, of.final))
        await self._run(ask.rename_in_steps(renames, in_order=host.keeps_order))


def _absolute(names: ask.Names) -> tuple[str, str, str | None]:
    return names.temporary, names.final, names.aside


def _entry(path: str, shown: Attributes | Status) -> Entry | None:
    if isinstance(shown, Status):
        return None
    return entry_of(path, shown) or Entry(path, Kind.OTHER)


def _is_file_of(found: Entry | None, old: Entry | None) -> bool:
    return old is not None and is_alike(found, old.size, old.mtime_ns)
