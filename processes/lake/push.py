"""Pushing: sealed and daily files, and the holes, into the store that a lake is kept in.

    1. put the file there under its own name; a store has it whole or not at all, or torn, when its
       server died over it: that it was begun is noted before
    2. read it back, and compare size and BLAKE2b with the file here; only then it is proved
    3. when that is a daily file: remove from the store the Arrow files that it was made of
    4. `keep_local_days` later, if the store still has the file that was proved: remove it here

It may be killed at any instant; the next pass goes on. A file in the store that is not this lake's
is never written over, nothing is removed here then, and it is told. What stays here for ever is
what storage needs to find its place after a restart: of each stream of a session that may go on,
the newest file. Open files, and downloads (`restapi`), are not pushed.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
from msgspec import Struct

from processes.clock import Clock, day_of
from processes.journal_files import segments_of
from processes.lake.lock import hold
from processes.lake.proofs import (
    Proof,
    Proofs,
    content_of,
    digest_of,
    digest_of_buffer,
    digest_of_store,
)
from processes.lake_files import (
    ARROW,
    DAILY,
    LakeFile,
    describe,
    folders_of,
    superseded,
)
from processes.lake_holes import FOLDER
from processes.lake_places import StorePath, name_in
from processes.lake_stores import Store, Told
from processes.sessions import sessions_of
from schemas.errors import LakeError, OperatorError, StoreError


class Pushed(Struct, kw_only=True):
    """What passes have come to."""

    files: int = 0
    bytes: int = 0
    replaced: int = 0
    """Arrow files removed from the store, since their daily file is there."""
    removed: int = 0
    """Files removed here, since the store has them."""
    removed_bytes: int = 0
    refused: list[str] = []
    """What the store has under a name of ours and is not ours, or has not kept as it was."""
    pending_files: int = 0
    pending_bytes: int = 0
    oldest_ns: int = 0
    """When the oldest file that is not proved was written; 0 without one."""


class Pending(Struct, frozen=True):
    """A file that is here and not proved to be in the store."""

    name: str
    path: Path
    bytes: int
    mtime_ns: int


Go = Callable[[Pushed], bool]
"""Told after each file; says whether to go on."""


class Push:
    """One lake and its store.

    Args:
        data: the instance's folder, for its lake, journals and sessions. uri: of the store.
        keep_local_days: days before today that stay here; 0 = all.

    Raises:
        OperatorError: somebody else pushes, or the lake is kept elsewhere. StoreError: the store
            does not answer, or refuses; from `run`, too.
    """

    def __init__(self, data: Path, store: Store, uri: str, keep_local_days: int) -> None:
        self._lake = data / "lake"
        self._data = data
        self._store = store
        self._keep_days = keep_local_days
        self._root = StorePath(store)
        self._listing: dict[str, Told] = {}
        self._lake.mkdir(parents=True, exist_ok=True)
        self._proofs = Proofs(self._lake, store, uri)
        self.done = Pushed()

    def close(self) -> None:
        """Let others push."""
        self._proofs.close()

    def run(self, clock: Clock, go_on: Go = lambda _: True) -> Pushed:
        """One pass over all that is here; what all passes so far have come to."""
        done = self.done
        done.refused = []
        self._listing = dict(self._store.listing("", recursive=True))
        self._push_holes()
        waiting = self._pending()
        for index, one in enumerate(waiting):
            self._tell(waiting[index:])
            if not go_on(done):
                return done
            try:
                self._bring(one)
            except FileNotFoundError:
                continue  # packed meanwhile
        self._tell([one for one in waiting if not self._is_proved(one)])
        self._replace()
        if self._keep_days:
            self._remove_local(day_of(clock.now_ns()))
        go_on(done)
        return done

    # ---- what is to be done

    def _files(self) -> Iterable[Path]:
        for folder in folders_of(self._lake):
            assert isinstance(folder, Path)
            try:
                finals = _finals(folder)
                packed = len({path.suffix for path in finals}) > 1
                gone = {file.path for file in superseded(folder)} if packed else set()
            except (FileNotFoundError, LakeError):
                continue
            yield from (path for path in finals if path not in gone)

    def _pending(self) -> list[Pending]:
        """Files that are not proved, oldest first."""
        found = []
        for path in self._files():
            try:
                told = path.stat()
            except FileNotFoundError:
                continue
            name = name_in(self._lake, path)
            if not self._holds(self._proofs.find(name, told)):
                found.append(Pending(name, path, told.st_size, told.st_mtime_ns))
        return sorted(found, key=lambda one: (one.mtime_ns, one.name))

    def _holds(self, proof: Proof | None) -> bool:
        """Whether the store still has the file of a proof."""
        if proof is None:
            return False
        told = self._listing.get(proof.name)
        return told is not None and (told.st_size, told.st_ino) == (proof.bytes, proof.put_ns)

    def _is_proved(self, one: Pending) -> bool:
        try:
            return self._holds(self._proofs.find(one.name, one.path.stat()))
        except FileNotFoundError:
            return True  # not here any more: nothing to do

    def _tell(self, waiting: Sequence[Pending]) -> None:
        done = self.done
        done.pending_files = len(waiting)
        done.pending_bytes = sum(one.bytes for one in waiting)
        done.oldest_ns = waiting[0].mtime_ns if waiting else 0

    # ---- bringing

    def _bring(self, one: Pending) -> None:
        told = one.path.stat()
        there = StorePath(self._store, one.name, self._listing.get(one.name))
        with content_of(one.path) as content:
            digest = digest_of_buffer(content)
            same = one.name in self._listing and there.listed().st_size == content.size
            if not (same and digest_of_store(there) == digest):
                if one.name in self._listing and not self._may_replace(one, there):
                    return
                if not self._put(one, content, digest):
                    return
        put = self._store.told(one.name)
        self._listing[one.name] = put
        self._proofs.add(
            Proof(
                name=one.name, bytes=told.st_size, mtime_ns=told.st_mtime_ns, put_ns=put.st_ino,
                digest=digest,
            )
        )  # fmt: skip

    def _put(self, one: Pending, content: pa.Buffer, digest: str) -> bool:
        """Put it there and read it back; False if it is not what was put."""
        there = StorePath(self._store, one.name)
        if one.name not in self._listing:
            self._proofs.begin(one.name)
        self._store.put(one.name, content)
        if digest_of_store(there) != digest:
            there.unlink()
            self._listing.pop(one.name, None)
            self._refuse(one, "came back other than it was sent, and was taken out again")
            return False
        self.done.files += 1
        self.done.bytes += content.size
        return True

    def _may_replace(self, one: Pending, there: StorePath) -> bool:
        """A daily file may replace one whose rows it has, and any file its own torn one."""
        try:
            theirs, mine = describe(there), describe(one.path)
        except LakeError:
            if self._proofs.is_begun(one.name):
                return True
            self._refuse(one, "is there already, cannot be read and was not put there by us")
            return False
        held = {piece.identity for piece in mine.pieces}
        if mine.form == "daily" and all(piece.identity in held for piece in theirs.pieces):
            return True
        self._refuse(one, "has rows that are not in the file here: dcctl lake compact joins them")
        return False

    def _refuse(self, one: Pending, what: str) -> None:
        self.done.refused.append(f"{self._root / one.name} {what}")

    def _push_holes(self) -> None:
        """The holes of each ring; a file of lines that only ever gets more of them."""
        folder = self._lake / FOLDER
        for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
            name = f"{FOLDER}/{path.name}"
            content = path.read_bytes()
            told = self._listing.get(name)
            if told is not None:
                theirs = StorePath(self._store, name).read_bytes()
                if theirs == content:
                    continue
                if not content.startswith(theirs):
                    where = self._root / name
                    self.done.refused.append(f"{where} has holes that are not in the file here")
                    continue
            self._store.put(name, pa.py_buffer(content))
            self.done.files += 1
            self.done.bytes += len(content)

    # ---- removing

    def _replace(self) -> None:
        """Remove from the store the Arrow files whose daily file is proved to be there."""
        arrows: dict[str, list[str]] = {}
        for name in self._listing:
            folder, _, last = name.rpartition("/")
            if last.endswith(ARROW) and not last.startswith("."):
                arrows.setdefault(folder, []).append(name)
        for name in self._proofs.names():
            folder = name.rpartition("/")[0]
            if name.endswith(DAILY) and folder in arrows:
                self._replace_by(name, arrows[folder])

    def _replace_by(self, daily: str, arrows: Sequence[str]) -> None:
        path = self._lake / daily
        try:
            if not self._holds(self._proofs.find(daily, path.stat())):
                return
            held = {piece.identity for piece in describe(path).pieces}
        except (FileNotFoundError, LakeError):
            return
        names = {name for name, *_ in held}
        for name in arrows:
            if name.rpartition("/")[2] not in names or name not in self._listing:
                continue
            there = StorePath(self._store, name, self._listing[name])
            try:
                if not all(piece.identity in held for piece in describe(there).pieces):
                    continue
            except (FileNotFoundError, LakeError):
                continue  # verify tells of it
            there.unlink()
            del self._listing[name]
            self._proofs.forget(name)
            self.done.replaced += 1

    def _remove_local(self, today: str) -> None:
        """Remove here what is old enough and proved, unless somebody verifies or packs."""
        first = (date.fromisoformat(today) - timedelta(days=self._keep_days)).isoformat()
        old = [path for path in self._files() if path.parent.name.removeprefix("dt=") < first]
        if not old:
            return
        going_on = self._sessions_that_may_go_on()
        for path in old:
            try:
                # File by file: who wants to verify or to pack need not wait for all of them.
                with hold(self._lake, alone=True), suppress(FileNotFoundError, LakeError):
                    self._remove_one(path, going_on)
            except StoreError:
                raise
            except OperatorError:
                return  # the next pass

    def _remove_one(self, path: Path, going_on: set[int]) -> None:
        name = name_in(self._lake, path)
        told = path.stat()
        proof = self._proofs.find(name, told)
        if proof is None or not self._holds(proof):
            return
        file = describe(path)
        if not going_on.isdisjoint(file.sessions) and self._is_newest(file, going_on):
            return
        # Once more, now: what was listed may be an hour old.
        try:
            there = self._store.told(name)
        except FileNotFoundError:
            return
        if (there.st_size, there.st_ino) != (proof.bytes, proof.put_ns):
            return
        if digest_of(path) != proof.digest:
            return  # the disk here has changed it: verify tells of it
        path.unlink()
        self._proofs.forget(name)
        self.done.removed += 1
        self.done.removed_bytes += told.st_size
        if not any(path.parent.iterdir()):
            path.parent.rmdir()

    def _sessions_that_may_go_on(self) -> set[int]:
        """The newest one, and those that journals still hold rows of."""
        found = {
            part.session for one in segments_of(self._data / "journal").values() for part in one
        }
        return found | set(sessions_of(self._data)[-1:])

    def _is_newest(self, file: LakeFile, going_on: set[int]) -> bool:
        """Whether a stream of such a session has no later row in another file here."""
        streams = {
            tuple(sorted(piece.constants.items())): piece.last_seq
            for piece in sorted(file.pieces, key=lambda piece: piece.last_seq)
            if piece.session in going_on
        }
        assert isinstance(file.path, Path)
        for folder in sorted(file.path.parent.parent.glob("dt=*"), reverse=True):
            for path in _finals(folder):
                for piece in describe(path).pieces:
                    key = tuple(sorted(piece.constants.items()))
                    if streams.get(key, piece.last_seq) < piece.last_seq:
                        del streams[key]
            if not streams:
                return False
        return True


def _finals(folder: Path) -> list[Path]:
    """Sealed and daily files in a folder."""
    found = sorted(folder.iterdir())
    return [
        path
        for path in found
        if path.name.endswith((ARROW, DAILY)) and not path.name.startswith(".")
    ]
