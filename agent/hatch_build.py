"""Compile the hot path with mypyc: in place for this checkout (`make compiled`), or into a wheel.

A module that is not compiled runs the same, only slower; which ones are compiled is said in pyproject.toml. The hook
of the build is off unless HATCH_BUILD_HOOKS_ENABLE=1. docs/decisions/0012-the-hot-path-is-compiled.md says why.
"""

import os
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
BUILD = ROOT.parent / "build" / "compiled"
"""Where the C files and objects of this checkout stay, so that only what changed is compiled again."""


def modules(root: Path = ROOT) -> list[str]:
    """Paths of what is compiled, relative to `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return [str(path) for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]]


def compile_modules(root: Path, build: Path, into: Path | None = None) -> None:
    """Compile what `modules` says; the libraries go into `into`, or beside their sources.

    Raises:
        SystemExit: mypyc finds an error in the types.
        setuptools.errors.CompileError: there is no compiler, or no header of Python's.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution

    os.chdir(root)  # names of modules are those of paths
    os.environ["MYPYPATH"] = "."
    extensions = mypycify(["--strict", *modules(root)], separate=True, debug_level="0", target_dir=str(build))
    for extension in extensions:  # a newer compiler has new warnings
        extension.extra_compile_args = [option for option in extension.extra_compile_args if option != "-Werror"]
    command = Distribution({"name": "mailagent", "ext_modules": extensions}).get_command_obj("build_ext")
    command.inplace = into is None
    command.build_lib = str(into or root)
    command.build_temp = str(build)
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()


class CustomBuildHook(BuildHookInterface[Any]):
    """Makes a wheel for one version of Python and one kind of machine."""

    def dependencies(self) -> list[str]:
        """What building takes: mypyc looks into the libraries that are used."""
        return ["mypy", "setuptools", *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled modules; an editable installation compiles in place instead."""
        if version == "editable":
            return
        self._temporary = TemporaryDirectory(prefix="mailagent-")
        into = Path(self._temporary.name)
        compile_modules(Path(self.root), into / "c", into / "lib")
        for library in (into / "lib").rglob("*.so"):
            build_data["force_include"][str(library)] = str(library.relative_to(into / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def remove_others(root: Path = ROOT) -> None:
    """Remove the libraries of modules that are compiled no longer, which Python would go on to prefer."""
    listed = {(root / path).with_suffix("") for path in modules(root)}
    for library in root.rglob("*.so"):
        if library.with_name(library.name.split(".")[0].removesuffix("__mypyc")) not in listed:
            library.unlink()


if __name__ == "__main__":
    remove_others()
    compile_modules(ROOT, BUILD)
