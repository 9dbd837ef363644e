"""Publishing on an FTP server: many renames in one flight, and the way back.

FTP has no links, and no rename that depends on the one before it. So an old file is renamed aside, and its name is
missing for the time between two commands. What may go wrong is looked for before: the three names of each file, and the
directories that take old files. The first file that is set aside in a directory goes alone, and so does every file on a
server whose replies or sizes prove too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from actorsync.classes import frozen
from actorsync.endpoints.contract import Staged
from actorsync.endpoints.ftp.looks.presence import Looker
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.releases import Publication, Published
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.planning.publishing.steps import BackStep, Seen, Step, is_alike, step_back, step_to_publish
from actorsync.protocols.ftp import releases as ask
from actorsync.protocols.ftp.flights import Flight
from actorsync.protocols.ftp.replies import size_of
from actorsync.protocols.ftp.wire import Reply

__all__ = ["Publisher"]

#: Seconds without a change until a server has carried out what a lost connection had sent, and how often to look.
_QUIET, _MOST_LOOKS = 1.0, 20


@frozen
class Publisher:
    """Publishes staged files, and takes that back."""

    _connection: FtpConnection
    _looker: Looker
    _spellings: FtpSpellings
    _symlinks: SymlinkFinder

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish files: one flight that looks, and then flights of up to 64 files."""
        await self._connection.resync()
        results: dict[int, Published | OperationRefused] = dict(await self._refusals(items))
        todo = {index: item for index, item in enumerate(items) if index not in results}
        steps: dict[int, Step] = {}
        for index, seen in (await self._look(todo, times=False)).items():
            try:
                wants_aside = items[index].aside is not None
                steps[index] = step_to_publish(seen, items[index].staged.size, sets_aside=wants_aside)
            except OperationRefused as refused:
                results[index] = refused
        published = [index for index, step in steps.items() if step is Step.NONE]
        todo = {index: items[index] for index in steps if index not in published} if self._is_quick else {}
        results |= await self._publish_together(todo, steps)
        for index in steps.keys() - results.keys():
            results[index] = await self._publish_alone(items[index])
        return [results[index] for index in range(len(items))]

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take files back: one flight that looks, flights of up to 64 files, and one that looks again."""
        await self._connection.resync()
        results: dict[int, Entry | OperationRefused | None] = dict(await self._refusals(items))
        todo = {index: item for index, item in enumerate(items) if index not in results}
        steps: dict[int, BackStep] = {}
        for index, seen in (await self._look(todo, times=True)).items():
            try:
                steps[index] = step_back(seen, items[index].staged.size)
            except OperationRefused as refused:
                results[index] = refused
                continue
            if steps[index] in {BackStep.NONE, BackStep.DROP}:  # the name aside is swept with the other temporaries
                results[index] = seen.final
            elif steps[index] is BackStep.RESTORE and seen.final is not None:
                results[index] = await self._restore_over(items[index], seen)
            elif seen.aside is None:
                todo[index] = attrs.evolve(items[index], aside=None)
        todo = {index: item for index, item in todo.items() if index not in results}
        is_published = [steps[index] is BackStep.TAKE_BACK for index in todo]
        names = [self._names(item) for item in todo.values()]
        self._note([item.staged for item in todo.values()])
        renamed = await self._connection.control.play(
            ask.put_back(names, is_published=is_published, is_long=self._is_long)
        )
        self._forget([item.staged for item in todo.values()])
        shown = await self._connection.control.play(ask.look(names, temporaries=False, is_long=self._is_long))
        for (index, item), refusals, looked in zip(todo.items(), renamed, shown, strict=True):
            results[index] = await self._taken_back(item, refusals, looked)
        return [results[index] for index in range(len(items))]

    # Looking.

    @property
    def _is_quick(self) -> bool:
        """Whether many files may go in one flight: the server reads in order, and shows what exists."""
        known = self._connection.known
        is_in_order = known.flights.is_known and known.flights.allows(Flight.BURST)
        return is_in_order and known.has_size and known.commands.works("SIZE")

    @property
    def _is_long(self) -> bool:
        """Whether flights may be longer than elsewhere."""
        return not self._connection.control.is_encrypted

    def _names(self, item: Publication) -> ask.Names:
        at = self._connection.at
        return ask.Names(
            at(item.staged.temporary), at(item.staged.path), None if item.aside is None else at(item.aside)
        )

    async def _refusals(self, items: Sequence[Publication]) -> dict[int, OperationRefused]:
        """Return the files that cannot be published or taken back, as their paths show."""
        connection = self._connection
        paths = [_paths(item) for item in items]
        links = await self._symlinks.find(list(dict.fromkeys(parent_of(path) for of in paths for path in of)))
        refusals: dict[int, OperationRefused] = {}
        for index, (item, of) in enumerate(zip(items, paths, strict=True)):
            link = next((links[parent_of(path)] for path in of if parent_of(path) in links), None)
            why = next(filter(None, map(connection.fault, of)), None)
            if link is not None:
                refusals[index] = link
            elif why:
                refusals[index] = OperationRefused(why)
            elif (taken := await self._spellings.claim(item.staged.path)) is not None:
                refusals[index] = taken
        return refusals

    async def _look(self, items: Mapping[int, Publication], *, times: bool) -> dict[int, Seen]:
        """Look at the names of files until nothing changes that a lost connection may have left on its way."""
        seen = await self._look_once(items, times=times)
        missing = {index: items[index] for index, it in seen.items() if it.temporary is None}
        if missing and not times:
            seen |= await self._look_once(missing, times=True)
        names = {item.staged.temporary for item in items.values()}
        is_doubtful = not self._connection.known.publishing.isdisjoint(names) or 0 < len(missing) < len(seen)
        for _ in range(_MOST_LOOKS if is_doubtful else 0):
            await trio.sleep(_QUIET)
            before, seen = seen, await self._look_once(items, times=True)
            if seen == before:
                break
        self._forget([item.staged for item in items.values()])
        return seen

    async def _look_once(self, items: Mapping[int, Publication], *, times: bool) -> dict[int, Seen]:
        connection, commands = self._connection, self._connection.known.commands
        if not connection.known.has_size:
            return {index: await self._look_closely(item) for index, item in items.items()}
        looked = await connection.control.play(
            ask.look([self._names(item) for item in items.values()], times=times, is_long=self._is_long)
        )
        if any(map(ask.is_shown, (reply for it in looked for reply in it.sizes))):
            commands.note("SIZE")
        seen: dict[int, Seen] = {}
        for (index, item), it in zip(items.items(), looked, strict=True):
            if all(ask.is_shown(reply) or (reply.code == 550 and commands.works("SIZE")) for reply in it.sizes):
                seen[index] = self._seen(item, it)
            else:
                seen[index] = await self._look_closely(item)
        return seen

    def _seen(self, item: Publication, looked: ask.Looked) -> Seen:
        temporary = None if looked.temporary is None else size_of(looked.temporary)
        return Seen(
            None if temporary is None else Entry(item.staged.temporary, Kind.FILE, temporary),
            None if looked.facts is None else Entry(item.staged.path, Kind.FILE, *looked.facts),
            None
            if looked.aside_facts is None or item.aside is None
            else Entry(item.aside, Kind.FILE, *looked.aside_facts),
            is_new=self._is_staged(item.staged, looked.facts),
        )

    def _is_staged(self, staged: Staged, facts: tuple[int, int | None] | None) -> bool:
        """Return whether a file is the staged one, by its size and time. A shift of all times is no difference."""
        if facts is None or facts[0] != staged.size:
            return False
        times = {facts[1], self._connection.known.time_shift.corrected(facts[1])}
        return any(is_alike(Entry(staged.path, Kind.FILE, facts[0], it), staged.size, staged.mtime_ns) for it in times)

    async def _look_closely(self, item: Publication) -> Seen:
        """Look at the names of a file by all means. What the server does not tell counts as there."""
        paths = _paths(item)
        sizes = [item.staged.size, -1, -1]
        asked = [Entry(path, Kind.FILE, size) for path, size in zip(paths, sizes, strict=False)]
        found = await self._looker.look(asked)
        shown = [entry if isinstance(it, OperationRefused) else it for entry, it in zip(asked, found, strict=True)]
        temporary, final, aside = (*shown, None, None)[:3]
        facts = None if final is None or final.kind is not Kind.FILE else (final.size, final.mtime_ns)
        if facts is not None and facts[0] < 0 and aside is not None:
            facts = (item.staged.size, None)  # nothing but the old file aside shows that it was published
        return Seen(temporary, final, aside, is_new=self._is_staged(item.staged, facts))

    # One file.

    async def _publish_alone(self, item: Publication) -> Published | OperationRefused:
        """Publish one file in steps, each of which depends on the one before."""
        staged = item.staged
        seen = await self._look_closely(item)
        try:
            step = step_to_publish(seen, staged.size, sets_aside=item.aside is not None)
        except OperationRefused as refused:
            return refused
        has_old = item.aside is not None and seen.aside is not None
        if step is Step.SET_ASIDE and item.aside is not None:
            refusal = await self._spellings.rename(staged.path, item.aside)
            (left,) = await self._looker.look([Entry(staged.path, Kind.FILE, -1)]) if refusal else (None,)
            if refusal is not None and left is not None:
                return OperationRefused(f"the old file cannot be set aside: {refusal}")
            has_old = refusal is None
        if step is not Step.NONE and (refusal := await self._spellings.rename(staged.temporary, staged.path)):
            if not has_old and seen.final is not None:
                return await self._replace(item, refusal)
            return await self._refused(item, refusal, has_old=has_old)
        if has_old:
            self._connection.known.aside_places.add(_place(item))
        return await self._proven(item, has_old=has_old)

    async def _replace(self, item: Publication, refusal: OperationRefused) -> Published | OperationRefused:
        """Replace a file on a server that does not: the old one is set aside, and removed."""
        staged, aside = item.staged, aside_of(item.staged.temporary)
        if self._connection.fault(aside) or await self._spellings.rename(staged.path, aside) is not None:
            return refusal
        again = attrs.evolve(item, aside=aside)
        if (refusal_now := await self._spellings.rename(staged.temporary, staged.path)) is not None:
            return await self._refused(again, refusal_now, has_old=True)
        await self._connection.remove_temporaries([aside])
        return await self._proven(item, has_old=False)

    async def _proven(self, item: Publication, *, has_old: bool) -> Published | OperationRefused:
        """Return a file that was renamed, as the server shows it."""
        staged = item.staged
        (shown,) = await self._looker.look([Entry(staged.path, Kind.FILE, staged.size, None)])
        if isinstance(shown, OperationRefused) and not self._connection.known.has_size:
            shown = Entry(staged.path, Kind.FILE, staged.size)  # the server shows no sizes at all
        if isinstance(shown, Entry) and shown.size == staged.size:
            (facts,) = await self._connection.control.play(ask.look([self._names(item)]))
            mtime_ns = staged.mtime_ns if facts.facts is None else facts.facts[1]
            return Published(Entry(staged.path, Kind.FILE, staged.size, mtime_ns, mode=staged.mode), has_old)
        found = f"{shown.size} bytes" if isinstance(shown, Entry) else str(shown or "nothing")
        return OperationRefused(f"after the rename the server reports {found} for the final name", retry=True)

    async def _refused(
        self, item: Publication, refusal: OperationRefused | Reply, *, has_old: bool
    ) -> OperationRefused:
        """Return why a file did not get its name. Its old file gets its name back at once."""
        if has_old and item.aside is not None:
            back = await self._spellings.rename(item.aside, item.staged.path)
            if back is not None:
                return OperationRefused(f"{refusal}; and its old file cannot be put back: {back}", retry=True)
        if await self._connection.is_directory(self._connection.at(item.staged.path)):
            return OperationRefused("a directory is in its place")
        return OperationRefused(f"the server refused the rename to the final name: {refusal}")

    # Many files.

    async def _publish_together(
        self, items: Mapping[int, Publication], steps: Mapping[int, Step]
    ) -> dict[int, Published | OperationRefused]:
        """Publish files in flights, and look at all of them afterwards. Those that have to go alone are left out."""
        control, known = self._connection.control, self._connection.known
        self._note([item.staged for item in items.values()])
        results, set_aside = await self._set_first_aside(items, steps)
        sent: dict[int, Publication] = {}
        for index, item in items.items():
            if index in set_aside or steps[index] is Step.RENAME:
                sent[index] = attrs.evolve(item, aside=None)
            elif index not in results and _place(item) in known.aside_places:
                sent[index] = item
        renamed = await control.play(ask.rename([self._names(item) for item in sent.values()], is_long=self._is_long))
        self._forget([item.staged for item in items.values()])
        looked = await control.play(
            ask.look([self._names(items[index]) for index in sent], temporaries=False, is_long=self._is_long)
        )
        for (index, item), refusals, shown in zip(sent.items(), renamed, looked, strict=True):
            has_old = index in set_aside or (item.aside is not None and refusals.first is None)
            if refusals.second is None and shown.facts is not None and self._is_staged(item.staged, shown.facts):
                published = self._published(item.staged, shown)
                if steps[index] is Step.SET_ASIDE and refusals.first is not None and not published.has_old:
                    known.unkept.append(f"{item.staged.path}: {refusals.first}")
                    published = attrs.evolve(published, lost_old=True)
                results[index] = published
            elif refusals.second is not None and (has_old or shown.facts is None):
                results[index] = await self._refused(items[index], refusals.second, has_old=has_old)
            elif (result := await self._second_look(items[index], has_old=has_old)) is not None:
                results[index] = result
        return results

    async def _set_first_aside(
        self, items: Mapping[int, Publication], steps: Mapping[int, Step]
    ) -> tuple[dict[int, Published | OperationRefused], set[int]]:
        """Set one old file aside in each directory where none was before. Returns the refusals, and which were done.

        In one flight with the rename that follows, an old file would be lost if its directory took none.
        """
        places = self._connection.known.aside_places
        first: dict[str, int] = {}
        for index, item in items.items():
            if steps[index] is Step.SET_ASIDE and _place(item) not in places:
                first.setdefault(_place(item), index)
        names = [self._names(items[index]) for index in first.values()]
        results: dict[int, Published | OperationRefused] = {}
        done: set[int] = set()
        for (place, index), refusal in zip(
            first.items(), await self._connection.control.play(ask.set_aside(names, is_long=self._is_long)), strict=True
        ):
            if refusal is None:
                places.add(place)
                done.add(index)
            else:
                results[index] = OperationRefused(f"the old file cannot be set aside: {refusal}")
        return results, done

    def _published(self, staged: Staged, shown: ask.Looked) -> Published:
        mtime_ns = staged.mtime_ns if shown.facts is None or shown.facts[1] is None else shown.facts[1]
        return Published(
            Entry(staged.path, Kind.FILE, staged.size, mtime_ns, mode=staged.mode), ask.is_shown(shown.aside)
        )

    async def _second_look(self, item: Publication, *, has_old: bool) -> Published | OperationRefused | None:
        """Return what a file has come to whose replies and looks do not agree; None if it is to be published alone."""
        (shown,) = await self._connection.control.play(ask.look([self._names(item)]))
        if not ask.is_shown(shown.temporary):
            if shown.facts is not None and shown.facts[0] == item.staged.size:
                return self._published(item.staged, shown)
            reported = "nothing" if shown.facts is None else f"{shown.facts[0]} bytes"
            why = f"after the rename the server reports {reported} for the final name"
            return OperationRefused(why, retry=True)
        if has_old:
            refusal = OperationRefused("the server reported it as renamed, but did not")
            return await self._refused(item, refusal, has_old=True)
        return None  # the server may not replace a file

    def _note(self, staged: Sequence[Staged]) -> None:
        self._connection.known.publishing.update(it.temporary for it in staged)

    def _forget(self, staged: Sequence[Staged]) -> None:
        self._connection.known.publishing.difference_update(it.temporary for it in staged)

    # Back.

    async def _restore_over(self, item: Publication, seen: Seen) -> Entry | OperationRefused | None:
        """Put an old file back where the new one still has its name beside its temporary name."""
        assert item.aside is not None, "there is nothing to restore"
        if not seen.is_new:
            return OperationRefused("not taken back: another file has its name")
        await self._connection.remove_temporaries([item.staged.path])
        return await self._restored(item)

    async def _restored(self, item: Publication) -> Entry | OperationRefused | None:
        assert item.aside is not None, "there is nothing to restore"
        refusal = await self._spellings.rename(item.aside, item.staged.path)
        (shown,) = await self._looker.look([Entry(item.staged.path, Kind.FILE, -1)])
        return refusal if refusal is not None and not isinstance(shown, Entry) else shown

    async def _taken_back(
        self, item: Publication, refusals: ask.Renamed, looked: ask.Looked
    ) -> Entry | OperationRefused | None:
        """Return what a file has come to that was taken back."""
        if refusals.second is not None or refusals.first is not None:
            return OperationRefused(f"not taken back: {refusals.second or refusals.first}", retry=True)
        if item.aside is None:
            (left,) = await self._looker.look([Entry(item.staged.path, Kind.FILE, -1)]) if looked.facts else (None,)
            return left
        if looked.facts is None:
            (shown,) = await self._looker.look([Entry(item.staged.path, Kind.FILE, -1)])
            return OperationRefused("its old file is not there", retry=True) if shown is None else shown
        return Entry(item.staged.path, Kind.FILE, *looked.facts)


def _paths(item: Publication) -> list[str]:
    paths = (item.staged.temporary, item.staged.path, item.aside)
    return [path for path in paths if path is not None]


def _place(item: Publication) -> str:
    """Return what has to be proved once: that files can be set aside in their own directory, or in another one."""
    aside = item.aside or ""
    return "" if parent_of(aside) == parent_of(item.staged.path) else parent_of(aside)
