"""Load a configuration: read all files, check everything, and return it whole or not at all.

Purpose: the one way from files to `Settings` and `Snapshot`, for the start of a process, for a
reload and for ``gatepost check``.
Format: docs/config.md, which is generated from `keys`.
Limits: see `files` and `tree`. 100,000 tenants with two sender domains each load within 5 s of
processor time on CPython 3.11; ``./dev bench reload`` measures it.
Errors: `Loader.load` raises `ConfigErrors` with all problems of all files in their order.
Security: nothing but the files named by the configuration is read, and none is written.
"""

from __future__ import annotations

import datetime as dt
import gc
import hashlib
import ipaddress
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TypeVar

from gatepost.errors import ConfigErrors
from gatepost.feedback.token import Keyring
from gatepost.modes import Mode, Modes
from gatepost.settings import api_tenants
from gatepost.settings.burst import load_bursts
from gatepost.settings.counters import check_counters
from gatepost.settings.delivery import TenantCheck
from gatepost.settings.feedback import FlowBuilder
from gatepost.settings.files import Source, list_files, read_file, secrecy_problem
from gatepost.settings.keyring import build_keyring
from gatepost.settings.keys import KeyFile, MainFile
from gatepost.settings.keys_api import check_api
from gatepost.settings.keys_promoted import PromotedFile
from gatepost.settings.keys_shaping import ShapingFile
from gatepost.settings.keys_tenants import TenantFile
from gatepost.settings.lanes import build_lanes
from gatepost.settings.model import Loaded, Settings
from gatepost.settings.platform import build_platform, check_null_sender_profile, check_own_domains
from gatepost.settings.problems import Place, Problem, Rejected, Report
from gatepost.settings.promoted import build_promoted
from gatepost.settings.resolve import resolve
from gatepost.settings.restart import settings_of
from gatepost.settings.schema import Section, listed
from gatepost.settings.shaping import ShapingSettings, overflow_pairs
from gatepost.settings.store import check_store
from gatepost.settings.tenants import ModeTable, TenantBuilder, TenantFileContent
from gatepost.settings.tls import build_tls
from gatepost.settings.traffic import load_quotas
from gatepost.settings.tree import Unreadable, parse
from gatepost.snapshot import Platform, Snapshot
from gatepost.tenants.model import TenantIndex
from gatepost.tls.promoted import PromotedRules
from gatepost.tls.rules import TlsRules
from gatepost.traffic.burst import burst_pairs
from gatepost.traffic.lanes import DEFAULT_LANE, Lane
from gatepost.traffic.services import services_for
from gatepost.traffic.warmup import WarmupRules

T = TypeVar("T")

MAIN = Section(MainFile)
TENANT = Section(TenantFile)
KEYS = Section(KeyFile)
PROMOTED = Section(PromotedFile)
SHAPING = Section(ShapingFile)

_DIGEST_CHARACTERS = 12
_OTHERS_WRITE = 0o002


class Loader:
    """Loads one configuration as often as asked."""

    def __init__(self, path: Path, api: api_tenants.Source = api_tenants.copied) -> None:
        """Remember where it is.

        Args:
            path: The main file; other files are named in it, relative to its directory.
            api: Gives the tenants that were made through the API.
        """
        self._path = path
        self._api = api

    def load(self, *, promoted: bool = True) -> Loaded:
        """Return what the files say now.

        Args:
            promoted: Read the file of promoted rules, too; without it, as if it had none.

        Raises:
            ConfigErrors: With every problem found, in file order.
        """
        with _without_collector():
            return _Load(self._path, promoted=promoted, api=self._api).run()

    def promoted(self) -> tuple[Path, PromotedRules] | None:
        """Return the file of promoted rules and what it holds, or None if none is named.

        A file that does not exist yet holds nothing.

        Raises:
            ConfigErrors: If it or the main file has an error.
        """
        return _Load(self._path).promoted()

    def settings(self) -> Settings:
        """Return the settings as far as they can be read, and defaults for the rest.

        For commands that must find the running processes while a file has mistakes.
        """
        return _Load(self._path).settings()

    def key_file(self) -> tuple[Path, str]:
        """Return the key file that the configuration names, and the account that uses it.

        Raises:
            ConfigErrors: If the main file has an error.
        """
        return _Load(self._path).key_file()


def read_keys(path: Path, user: str) -> KeyFile:
    """Return the settings of a key file.

    Args:
        path: The file.
        user: Account of the service.

    Raises:
        ConfigErrors: With every problem of the file.
    """
    return _Load(path).keys(user)


class _Load:
    """One load: what has been read so far, and what was wrong with it."""

    def __init__(
        self,
        path: Path,
        *,
        promoted: bool = True,
        api: api_tenants.Source = api_tenants.copied,
    ) -> None:
        self._path = path
        self._api = api
        self._mark = api_tenants.NO_API_TENANTS.mark
        self._file = str(path)
        self._with_promoted = promoted
        self._report = Report()
        self._sources: dict[str, Source] = {}
        self._broken: set[str] = set()
        self._unsure: set[str] = set()

    def run(self) -> Loaded:
        """Return the configuration.

        Raises:
            ConfigErrors: With every problem found.
        """
        main = self._read(self._path, Place(self._file), MAIN)
        if main is None:
            raise self._errors()
        file, report = self._file, self._report
        modes = ModeTable(main.modes)
        platform = build_platform(main.platform, file, modes.general, report)
        tls = build_tls(main.tls, self._promoted(main), file, report)
        lanes = build_lanes(main.lanes, file, report)
        keyring = self._keyring(main)
        builder = self._tenants(main, modes)
        index = builder.index(main.platform.logins, file)
        flow = FlowBuilder(self._path.parent, file, main.service.user, report)
        ladder = flow.ladder(main.ladder, lanes if "lanes" not in self._unsure else None)
        flow.check_postmaster(main.feedback)
        flow.check_unsubscribe(main.feedback, platform)
        webhooks = flow.webhooks(main.webhooks, self._known_tenants(index))
        shaper = ShapingSettings(file, report, log_is_read=main.maillog is not None)
        shaping = shaper.shaping(main.shaping, lambda path, at: self._read(path, at, SHAPING))
        warmups = self._warmups(shaper, main, builder, lanes)
        bursts = load_bursts(main, file, builder, lanes, self._broken, self._unsure, report)
        others = overflow_pairs(warmups, index.by_id.values()) | burst_pairs(bursts, index.by_id)
        services = self._services(platform, index, lanes, tls, ladder.lane, others)
        general, slow = modes.general, ladder.lane
        check = TenantCheck(platform, general, lanes, tls.profiles, report, self._unsure, slow)
        check.bursts, check.own_bursts = bursts, builder.traffic.keys()
        check.warmups = warmups
        self._check_tenants(check, builder, index, platform)
        quotas = load_quotas(main, file, builder, self._broken, self._unsure, report)
        self._check_surroundings(main, modes.general, platform, index)
        if report.errors:
            raise self._errors()
        snapshot = Snapshot(
            self._digest(),
            platform,
            modes.general,
            index,
            tls,
            lanes,
            keyring,
            services,
            flow.feedback(main.feedback),
            flow.suppression(main.suppression, hashed=main.feedback.privacy),
            ladder,
            webhooks,
            quotas,
            shaping=shaping,
            warmups=warmups,
            bursts=bursts,
        )
        told = resolve(report.warnings, self._sources)
        return Loaded(settings_of(self._path, main), snapshot, told)

    def settings(self) -> Settings:
        """Return the settings, whatever is wrong with others or with the rest of the file."""
        main = self._read(self._path, Place(self._file), MAIN)
        return Settings(self._path) if main is None else settings_of(self._path, main)

    def promoted(self) -> tuple[Path, PromotedRules] | None:
        """Return the file of promoted rules and what it holds.

        Raises:
            ConfigErrors: If it or the main file has an error.
        """
        main = self._read(self._path, Place(self._file), MAIN)
        if main is None or self._report.errors:
            raise self._errors()
        if main.tls.promoted is None:
            return None
        path = self._path.parent / main.tls.promoted
        rules = self._promoted(main) if path.exists() else PromotedRules(configured=True)
        if self._report.errors:
            raise self._errors()
        return path, rules

    def key_file(self) -> tuple[Path, str]:
        """Return the path of the key file and the account of the service.

        Raises:
            ConfigErrors: If the main file has an error.
        """
        main = self._read(self._path, Place(self._file), MAIN)
        if main is None or self._report.errors:
            raise self._errors()
        return self._path.parent / main.keys, main.service.user

    def keys(self, user: str) -> KeyFile:
        """Return the settings of the file as a key file.

        Raises:
            ConfigErrors: With every problem of it.
        """
        section = self._read_keys(self._path, Place(self._file), user)
        if section is None or self._report.errors:
            raise self._errors()
        return section

    def _errors(self) -> ConfigErrors:
        report, sources = self._report, self._sources
        return ConfigErrors(resolve(report.errors, sources), resolve(report.warnings, sources))

    def _read(self, path: Path, named: Place, section: Section[T]) -> T | None:
        """Return the settings of a file, or None if it is not readable at all.

        Args:
            path: The file.
            named: Where it is named, for a file that cannot be opened.
            section: What it holds.
        """
        try:
            source = read_file(path)
        except Rejected as error:
            what = "" if named.file == str(path) else f"{path} "
            if section is TENANT:
                self._unsure.add("tenants")
            self._report.error(named, f"{what}{error.problem}", error.remedy)
            return None
        name = source.name
        self._sources[name] = source
        if source.mode & _OTHERS_WRITE:
            self._report.warn(Place(name), "can be written by everybody", f"run: chmod o-w {name}")
        problems: list[Problem] = []
        settings = _understand(source.octets, section, problems)
        if settings is None and section is TENANT:
            self._unsure.add("tenants")
        for problem in problems:
            problem.file = name
            problem.hide = section is KEYS
            self._note_what_is_unsure(problem, section)
        self._report.errors += problems
        return settings

    def _note_what_is_unsure(self, problem: Problem, section: Section[T]) -> None:
        top, *rest = problem.place.path or ("",)
        if top == "tenants" and rest:
            self._broken.add(str(rest[0]))
        elif section is MAIN:
            self._unsure.add(str(top))

    def _keyring(self, main: MainFile) -> Keyring:
        path = self._path.parent / main.keys
        before = len(self._report.errors)
        section = self._read_keys(path, Place(self._file, ("keys",)), main.service.user)
        if section is None or len(self._report.errors) > before:
            return Keyring({}, 0)
        today = dt.datetime.now(dt.UTC).date()
        return build_keyring(section, str(path), today, self._report)

    def _read_keys(self, path: Path, named: Place, user: str) -> KeyFile | None:
        section = self._read(path, named, KEYS)
        source = self._sources.get(str(path))
        if source is not None and (problem := secrecy_problem(source, user)):
            self._report.error(Place(source.name), problem.problem, problem.remedy)
        return section

    def _promoted(self, main: MainFile) -> PromotedRules:
        named = main.tls.promoted
        nothing = PromotedRules(configured=named is not None)
        if named is None or not self._with_promoted:
            return nothing
        path = self._path.parent / named
        place = Place(self._file, ("tls", "promoted"))
        if not path.exists():
            # Not only a warning: a file that was moved away must not take rules out of force.
            self._report.error(
                place,
                f"{path} does not exist",
                "correct the path; or run gatepost tls promote --apply, which makes the file",
            )
            return nothing
        section = self._read(path, place, PROMOTED)
        return nothing if section is None else build_promoted(section, str(path), self._report)

    def _tenants(self, main: MainFile, modes: ModeTable) -> TenantBuilder:
        builder = TenantBuilder(modes, self._broken, self._unsure, self._report)
        # Each file's settings are let go before the next are read, to save memory.
        builder.add(TenantFileContent(self._file, main.tenants))
        for content in chain(self._tenant_files(main.tenants_dir), self._api_tenants(main)):
            builder.add(content)
        return builder

    def _tenant_files(self, directory: str | None) -> Iterator[TenantFileContent]:
        if directory is None:
            return
        place = Place(self._file, ("tenants_dir",))
        path = self._path.parent / directory
        try:
            files, others = list_files(path)
        except Rejected as error:
            self._unsure.add("tenants")
            self._report.error(place, f"{path} {error.problem}", error.remedy)
            return
        if others:
            self._report.warn(
                place,
                f"{path} holds {listed(others, 3)}, which is not read",
                "name files of tenants something.yaml, and keep others elsewhere",
            )
        for file in files:
            section = self._read(file, place, TENANT)
            if section is not None:
                yield TenantFileContent(str(file), section.tenants)

    def _api_tenants(self, main: MainFile) -> Iterator[TenantFileContent]:
        try:
            found = self._api(settings_of(self._path, main))
        except Rejected as error:
            self._unsure.add("tenants")
            self._report.error(Place(api_tenants.PLACE), error.problem, error.remedy)
            return
        self._mark = found.mark
        yield from api_tenants.contents(
            found, self._report, lambda problem: self._note_what_is_unsure(problem, TENANT)
        )

    def _services(
        self,
        platform: Platform,
        index: TenantIndex,
        lanes: dict[str, Lane],
        tls: TlsRules,
        slow: str | None,
        others: set[tuple[str, str]],
    ) -> dict[str, tuple[str, str]]:
        pairs = others | {(tenant.lane, tenant.profile) for tenant in index.by_id.values()}
        if slow is not None:
            pairs |= {(slow, profile) for _, profile in pairs}
        if "tls" not in self._unsure:
            check_null_sender_profile(platform, tls.profiles, self._file, self._report)
        if platform.null_sender_profile is not None:
            pairs.add((DEFAULT_LANE, platform.null_sender_profile))
        known = {pair for pair in pairs if pair[0] in lanes and pair[1] in tls.profiles}
        return services_for(known, lanes, tls.profiles)

    def _warmups(
        self,
        shaper: ShapingSettings,
        main: MainFile,
        builder: TenantBuilder,
        lanes: dict[str, Lane],
    ) -> WarmupRules:
        tenants = {
            id_: (section, builder.place(id_), builder.by_id[id_].lane)
            for id_, section in builder.warmups.items()
            if id_ not in self._broken
        }
        of_lanes = {name: section.warmup for name, section in main.lanes.items()}
        return shaper.warmups(of_lanes, tenants, None if "lanes" in self._unsure else lanes)

    def _known_tenants(self, index: TenantIndex) -> Collection[str] | None:
        """Return all tenant ids, or None where not all of them could be read."""
        return None if "tenants" in self._unsure else {*index.by_id, *self._broken}

    def _check_tenants(
        self, check: TenantCheck, builder: TenantBuilder, index: TenantIndex, platform: Platform
    ) -> None:
        named: set[str] = set()
        anybody = False
        for login in index.platform.values():
            anybody = anybody or login.may_act_as is None
            named.update(login.may_act_as or ())
        for id_, tenant in index.by_id.items():
            if id_ not in self._broken:
                check.check(tenant, builder.place(id_), acted_for=anybody or id_ in named)
        check_own_domains(
            platform, index, lambda id_: builder.place(id_, "senders"), self._file, self._report
        )

    def _check_surroundings(
        self, main: MainFile, modes: Modes, platform: Platform, index: TenantIndex
    ) -> None:
        check_api(main.api, self._file, self._report)
        check_store(main, self._path, self._report)
        check_counters(main, self._path, self._sources[self._file].mode, self._report)
        address = main.metrics
        if address is not None and not ipaddress.ip_address(address.host).is_loopback:
            self._report.warn(
                Place(self._file, ("metrics",)),
                f"{address} shows the names and counts of tenants to whoever can connect",
                "use a loopback address, or keep others out with a firewall",
            )
        in_use = {modes.feedback} | {t.modes.feedback for t in index.by_id.values()}
        known = "platform" not in self._unsure
        if index.by_id and known and not platform.sender_id and in_use != {Mode.OFF}:
            self._report.warn(
                Place(self._file, ("platform",)),
                "has no sender_id, so messages get no Feedback-ID",
                "set platform.sender_id, or modes.feedback: off",
            )

    def _digest(self) -> str:
        total = hashlib.sha256()
        for source in self._sources.values():
            total.update(hashlib.sha256(source.octets).digest())
        total.update(self._mark.nonce.encode())
        return total.hexdigest()[:_DIGEST_CHARACTERS]


def _understand(octets: bytes, section: Section[T], problems: list[Problem]) -> T | None:
    """Return what the octets of a file say, or None, and add the problems with it."""
    try:
        data, found = parse(octets)
        problems += found
        if data is None:
            raise Unreadable(0, "holds no settings", "write some, as gatepost init does")
        return section.read(data, problems)
    except Unreadable as error:
        problems.append(Problem(error.problem, error.remedy, line=error.line))
    except Rejected as error:
        problems.append(Problem(error.problem, error.remedy))
    return None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the cycle collector off.

    A load makes millions of objects and no cycle of them; the collector would look through them
    again and again, which takes a seventh of a large load.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
