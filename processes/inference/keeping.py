"""What an online model has learnt, on disk: written whole, now and then by a thread of its own.

There is one file, of the version that learnt last. Whoever stands again with that version goes on
from it. A file that is damaged, or of another version, is none: learning begins anew from what the
version was trained to, and the log says so. A disk that cannot be written to is told and survived.
"""

import threading
from pathlib import Path

from models.base import ModelError
from models.families import FAMILIES
from models.family import OnlineModel, Weights
from processes.files import write_whole
from processes.inference.choice import Candidate, try_out
from processes.inference.learner import Kept, encode, read_kept
from processes.logs import Log


class Keeping:
    """The file, and who writes it."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._thread: threading.Thread | None = None

    def read(self, found: Candidate) -> tuple[Kept, OnlineModel] | None:
        """What a version has learnt since it was trained, if that was kept."""
        self._wait()
        try:
            kept = read_kept(self._path.read_bytes())
            if kept.fingerprint != found.manifest.fingerprint:
                return None
            model = FAMILIES[found.family].restored(kept.arrays)
            assert isinstance(model, OnlineModel)
            try_out(model)
        except FileNotFoundError:
            return None
        except (OSError, ModelError) as error:
            self._log.warning("learning begins anew", reason=str(error))
            return None
        return kept, model

    def write(self, arrays: Weights) -> None:
        """Keep a learner's arrays, and be done when this returns."""
        self._wait()
        self._write(arrays)

    def write_later(self, arrays: Weights) -> None:
        """Keep a learner's arrays soon; not these, if the disk has not taken those before yet."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._write, args=(arrays,), daemon=True)
            self._thread.start()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write(self, arrays: Weights) -> None:
        try:
            write_whole(self._path, encode(arrays))
        except OSError as error:
            self._log.warning("what was learnt is not kept", reason=str(error))
