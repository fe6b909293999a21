"""Import Python modules from the sources of a build instead of from their files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from bridge.contracts.builds import Build


class _Loader(SourceFileLoader):
    """A module's own path and lines, but its text as it was; never a cached compilation."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text.encode("latin-1")

    def get_data(self, path: str) -> bytes:
        return self._text if path == self.path else super().get_data(path)

    def path_stats(self, path: str | bytes) -> Mapping[str, int]:
        raise OSError("there is no file of this text")


class Imports(MetaPathFinder):
    """Finds what builds hold, in the place where Python itself would have found it."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def take(self, build: Build) -> None:
        """Import this build's modules from now on; those of its files before are forgotten."""
        self._texts.update(build.texts)
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) in build.texts:
                del sys.modules[name]
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            return self.spec(name, spec.origin or "")
        last = name.rpartition(".")[2]
        gone = (Path(folder, last, "__init__.py") for folder in path or sys.path)
        beside = (Path(folder, f"{last}.py") for folder in path or sys.path)
        return next(filter(None, (self.spec(name, str(f)) for f in (*gone, *beside))), None)

    def spec(self, name: str, path: str, beside: list[str] | None = None) -> ModuleSpec | None:
        """Return the spec of a file's module; None if no build holds that file."""
        text = self._texts.get(path)
        if text is None:
            return None
        return spec_from_file_location(
            name,
            path,
            loader=_Loader(name, path, text),
            submodule_search_locations=beside,
        )
