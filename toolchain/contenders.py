"""What `prunec bench` compares: models, which are built, and engines, which are taken as they are.

A path is looked at before anything in it is run:

1. A folder is a bundle: its files are checked against its papers, and the engine that was timed is meant.
2. An engine in a bundle is checked likewise.
3. A file with papers beside it, as `prunec build` writes them, is the engine that they describe.
4. A file with the suffix of an engine and no papers is taken for one, which is said.
5. Everything else is a model.

An engine belongs to the runtime and the device that it was built for; here it is compared only on those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from toolchain.emit.bundle import CHECKSUMS, MANIFEST
from toolchain.emit.papers import read_engine
from toolchain.engine_trial import allowance_of_engine, try_engine
from toolchain.errors import BundleError, EnvironmentMissing, UsageError
from toolchain.graph.hashing import file_sha256
from toolchain.graph.load import LoadedModel, load_model
from toolchain.graph.rule import Rule
from toolchain.measure.inputs import Input, Sizes, inputs_of
from toolchain.measure.timer import build_deployed
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target
from toolchain.targets.engine import Engine, content_sha256
from toolchain.trial import try_model
from toolchain.verify.contents import check_contents
from toolchain.verify.subject import deployed_inputs, identity_of

MODEL_SUFFIX = ".onnx"
OTHERWISE = "give its model instead; --candidate-target is for the candidate alone"


@dataclass(frozen=True)
class Wish:
    """Which target a contender is to run on, and with which options; by default what suits it best."""

    target: str = targets.AUTO
    options: str = ""


class Contender(ABC):
    """One side of a comparison; `deployed` are the inputs at which it is known to be deployed."""

    path: Path
    deployed: tuple[Input, ...] = ()

    @property
    @abstractmethod
    def home(self) -> Wish:
        """The target and the options that it was built for; by default those that suit it best."""

    @abstractmethod
    def target(self, wish: Wish) -> Target:
        """Return the target to run it on.

        Raises UsageError where it belongs to another one, EnvironmentMissing where it belongs to another machine.
        """

    @abstractmethod
    def inputs(self, target: Target, sizes: Sizes, rules: Mapping[str, Rule]) -> tuple[Input, ...]:
        """Try it out where it can do no harm; return the inputs it takes at these sizes."""

    @abstractmethod
    def engine(self, target: Target, sizes: Sizes, folder: Path) -> Engine:
        """Return its engine, built in the folder where it is none yet."""


@dataclass(frozen=True, eq=False)
class ModelContender(Contender):
    """A model: built for whatever target is wished for."""

    path: Path
    loaded: LoadedModel

    @property
    def home(self) -> Wish:
        """None."""
        return Wish()

    def target(self, wish: Wish) -> Target:
        """Return the target wished for."""
        return targets.create(wish.target, wish.options)

    def inputs(self, target: Target, sizes: Sizes, rules: Mapping[str, Rule]) -> tuple[Input, ...]:
        """Run the model once apart, where the target would run it here."""
        binding = sizes.binding(self.loaded.original)
        if target.executes:
            try_model(self.loaded, rules, binding)
        return inputs_of(self.loaded.original, binding)

    def engine(self, target: Target, sizes: Sizes, folder: Path) -> Engine:
        """Build it."""
        return build_deployed(target, self.loaded.original, sizes.binding(self.loaded.original), folder)


@dataclass(frozen=True, eq=False)
class EngineContender(Contender):
    """An engine: compared as it is, on the target and with the options that it was built for."""

    path: Path
    built: Engine
    deployed: tuple[Input, ...] = ()

    @property
    def home(self) -> Wish:
        """What its papers say."""
        identity = self.built.identity
        return Wish(identity.target, ",".join(f"{name}={value}" for name, value in identity.options))

    def target(self, wish: Wish) -> Target:
        """Return its own target, if that is what was wished for and this is its machine."""
        own = self.built.identity.target
        if wish.target not in (targets.AUTO, own):
            raise UsageError(f"{self.path} was built for target {own}, not {wish.target}", hint=OTHERWISE)
        target = targets.create(own, wish.options or self.home.options)
        if target.options != self.built.identity.options:
            what = f"{self.path} was built with the options {self.home.options}"
            raise UsageError(what, hint=OTHERWISE)
        if difference := self.built.identity.difference(target.identity()):
            what = f"{self.path} was built for another machine: {difference}"
            raise EnvironmentMissing(what, hint="build it again on this one")
        return target

    def inputs(self, target: Target, sizes: Sizes, rules: Mapping[str, Rule]) -> tuple[Input, ...]:  # noqa: ARG002
        """Load and run the engine once apart, which tells its inputs."""
        if target.executes:
            return try_engine(target, self.built, sizes, allowance_of_engine(self.built))
        if self.deployed:
            return self.deployed
        raise UsageError(
            f"{self.path} is of target {target.name}, which runs no engines", hint="give its model instead"
        )

    def engine(self, target: Target, sizes: Sizes, folder: Path) -> Engine:  # noqa: ARG002
        """Return it as one of this machine."""
        return replace(self.built, identity=target.identity())


def open_contender(path: Path, wish: Wish, warn: Callable[[str], None]) -> Contender:
    """Say what a path is, by the cases above; runs nothing.

    Raises UsageError where nothing is there, ModelError (BundleError too) where it is not what it should be.
    """
    if path.is_dir():
        return _engine_in_bundle(path, path, None)
    bundle = path.absolute().parent.parent
    if path.is_file() and all((bundle / name).is_file() for name in (CHECKSUMS, MANIFEST)):
        return _engine_in_bundle(path, bundle, path.absolute().relative_to(bundle).as_posix())
    if path.is_file() and (placed := read_engine(path)):
        return EngineContender(path, placed.engine, placed.inputs)
    if path.is_file() and path.suffix in targets.engine_suffixes() and path.suffix != MODEL_SUFFIX:
        return _engine_without_papers(path, wish, warn)
    return ModelContender(path, load_model(path))


def _engine_in_bundle(path: Path, bundle: Path, name: str | None) -> EngineContender:
    """Return an engine of a bundle, by default the one that was timed, once all files are what its papers say."""
    try:
        manifest = check_contents(bundle)
    except BundleError as error:
        raise BundleError(f"{bundle}: {error.what}", hint=error.hint) from None
    entry = next((item for item in manifest.engines if (item.timed if name is None else item.path == name)), None)
    if entry is None or content_sha256((bundle / entry.path).parent) != entry.sha256:
        raise BundleError(f"{path} is not an engine that was built for its bundle", hint="compile again")
    engine = Engine(bundle / entry.path, identity_of(entry.target), entry.sha256, entry.model_sha256)
    return EngineContender(path, engine, deployed_inputs(manifest))


def _engine_without_papers(path: Path, wish: Wish, warn: Callable[[str], None]) -> EngineContender:
    """Take a file for an engine of this machine: its target is the one wished for, or the only one of its suffix."""
    known = targets.engine_suffixes()[path.suffix]
    if wish.target == targets.AUTO and len(known) > 1:
        raise UsageError(f"{path} may be an engine of {' or '.join(known)}", hint=f"say which: --target {known[0]}")
    target = targets.create(known[0] if wish.target == targets.AUTO else wish.target, wish.options)
    warn(f"{path} has no papers: nothing tells whether it is whole, or of this machine; loading it runs native code")
    sha256 = file_sha256(path)
    return EngineContender(path, Engine(path, target.identity(), sha256, sha256))
