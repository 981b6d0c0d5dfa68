# SPDX-License-Identifier: GPL-2.0
"""The tests: what their header lines say, which ones were asked for, who shares a boot."""

import dataclasses
import fnmatch
import itertools
import pathlib
import shlex

KEYS = {
    "vcpus", "timeout", "boot", "tools", "xfail-c", "breaks-with", "host", "memory", "each",
    "alone", "kernel", "kconfig", "smoke", "must-fail", "icount", "append", "soak", "rust",
    "pattern", "run",
}  # fmt: skip

# The guests' kernels, and how many times longer than on the first everything may take there.
KERNELS = {"fast": 1, "debug": 6, "builtin": 1, "rt": 2, "cfi": 1}
# A machine can be several times slower at one hour than at another: how many times longer than its
# header says a test may take. "within" in tests/guest/lib.sh has the same.
SPARE = 2
# Where a soak runs the smoke tests only.
SMOKE_ONLY = ("rt", "cfi")
# Numbers of processors that VCPUS= takes for tests that say "1 2".
MORE_PROCESSORS = (3, 4)
# Tests in one boot, and seconds that they may take at most: few enough that all machines have
# something to do until the end.
TOGETHER = 16
LONGEST = 1500 * SPARE


# The module of each driver, the variable that chooses its implementation, and the letter that the
# numbers of the C one's weak spots begin with.
DRIVERS = {"hv_vmbus": ("VMBUS", "W"), "hv_storvsc": ("STORVSC", "Y"), "hv_netvsc": ("NETVSC", "X")}


class Mistake(Exception):
    """A test's header or the user's choice is wrong; the text says how."""


@dataclasses.dataclass(frozen=True)
class Test:
    """One test on one number of vCPUs and one kernel."""

    name: str
    file: str
    vcpus: int = 1
    kconfig: str = "fast"
    argument: str = ""
    timeout: int = 60
    own: bool = True
    tools: tuple = ()
    # The weak spot of C that makes it fail (with a question mark: now and then), and an expression
    # for the failure's reason.
    xfail: tuple = ()
    # An expression for the reason of its failure: it provokes what has to be noticed.
    must_fail: str = ""
    host: tuple = ()
    # On the debug kernel the host writes over memory before it confirms that it gives it back, and
    # such an answer is late already: no fault is applied to it.
    pattern: bool = False
    # Parameters of its guest's kernel.
    append: str = ""
    memory: int = 512
    # It measures: nothing else runs at the same time.
    alone: bool = False
    # It boots a kernel from within the guest, which finds its own in /hv/bzImage.
    kernel: bool = False
    # It runs every time on the debug kernel too.
    smoke: bool = False
    # On more processors than on any other of its numbers.
    most: bool = True
    # On so many processors only because VCPUS= may name the number.
    asked: bool = False
    # Its figures repeat where one instruction is one nanosecond: it runs only there.
    icount: bool = False
    # How many times as long a soak is.
    soak: int = 1
    # It takes too long for every run: it runs in a soak, or if TEST= names it.
    rare: bool = False
    # That in a soak, or 1.
    times: int = 1
    # Which one of several equal runs.
    round: int = 0
    # Drivers that it is about: it runs with both of them if both are asked for.
    about: tuple = ()
    # Modules that are in Rust in its guest.
    rust: tuple = ()

    def __str__(self):
        where = f"{self.vcpus} vcpu{'s' if self.vcpus > 1 else ''}"
        if self.kconfig != "fast":
            where += f", {self.kconfig}"
        if self.round:
            where += f", run {self.round}"
        if self.rust:
            where += f", {' '.join(self.rust)} in Rust"
        return f"{self.name} [{where}]"

    def phase(self):
        """Tests with the same key may run at the same time: whether nothing else may run, and
        then how many processors the guest has (two, if more)."""
        return self.alone, min(self.vcpus, 2) if self.alone else 0

    def boot(self):
        """Tests with the same key may share a boot."""
        return (
            self.kconfig, self.vcpus, self.host, self.append, self.memory, self.alone, self.kernel, self.round,
            self.rust, self.pattern, self.name if self.own else "",
        )  # fmt: skip


def header(path):
    """The "# key: value" lines up to the first empty comment, where the test's description begins."""
    found = {}
    for line in path.read_text().splitlines():
        key, colon, value = line[1:].strip().partition(":")
        if not line.startswith("#") or not key:
            break
        if key.startswith(("SPDX", "shellcheck")):
            continue
        # A mistyped key would be a test that runs under other conditions than it says.
        if key not in KEYS or not colon:
            raise Mistake(f"{path}: there is no header '{key}:'; there are {' '.join(sorted(KEYS))}")
        found[key] = value.strip()
    if "xfail-c" in found and " " not in found["xfail-c"]:
        raise Mistake(f"{path}: '# xfail-c:' wants a weak spot's number and an expression for the reason")
    if unknown := set(found.get("rust", "").split()) - DRIVERS.keys():
        raise Mistake(f"{path}: '# rust:' names {' '.join(unknown)}; there are {' '.join(DRIVERS)}")
    for key in ("vcpus", "breaks-with"):
        if key not in found:
            raise Mistake(f"{path} has no header '# {key}:'")
    return found


def tests_of(folder, path):
    """The tests of one file: one for each argument, kernel and number of vCPUs."""
    fields = header(path)
    yes = {"yes": True, "no": False}
    # Most tests load and unload modules, which "builtin" has none of.
    kernels = fields.get("kconfig", "fast debug rt cfi").split()
    counts = [int(word) for word in fields["vcpus"].split()]
    smoke = yes[fields.get("smoke", "no")]
    # What runs on one processor and on two runs on any number.
    more = [n for n in MORE_PROCESSORS if {1, 2} < {*counts, n} != {*counts}]
    variants = itertools.product(fields.get("each", "").split() or [""], kernels, counts + more)
    for argument, kconfig, vcpus in variants:
        yield Test(
            name=f"{path.parent.name}/{path.stem}" + (f"-{argument}" if argument else ""),
            file=str(path.relative_to(folder)),
            vcpus=vcpus,
            kconfig=kconfig,
            argument=argument,
            timeout=int(fields.get("timeout", 60)) * SPARE * KERNELS[kconfig],
            own={"own": True, "shared": False}[fields.get("boot", "shared")],
            tools=tuple(fields.get("tools", "").split()),
            xfail=tuple(fields["xfail-c"].split(None, 1)) if "xfail-c" in fields else (),
            must_fail=fields.get("must-fail", ""),
            host=tuple(shlex.split(fields.get("host", "").replace("{}", argument))),
            pattern=kconfig == "debug" and yes[fields.get("pattern", "yes")],
            append=fields.get("append", ""),
            memory=int(fields.get("memory", 512)) * (2 if kconfig == "debug" else 1),
            alone=yes[fields.get("alone", "no")],
            kernel=yes[fields.get("kernel", "no")],
            smoke=smoke,
            most=vcpus == max(counts),
            asked=vcpus in more,
            icount=yes[fields.get("icount", "no")],
            soak=int(fields.get("soak", 1)),
            rare={"always": False, "soak": True}[fields.get("run", "always")],
            # What runs every time on debug runs with all there is in Rust.
            about=tuple(DRIVERS)
            if smoke and kconfig in ("debug", *SMOKE_ONLY)
            else tuple(fields.get("rust", "").split()),
        )


def load(folder):
    tests = []
    for path in sorted(pathlib.Path(folder).glob("*/*.sh")):
        try:
            tests += tests_of(folder, path)
        except (KeyError, ValueError) as error:
            raise Mistake(f"{path}: a header has a value that is not understood: {error}") from None
    return tests


def driver_sets(environment):
    """The sets of drivers to test, as tuples of the modules in Rust."""
    rust, both = [], []
    for module, (variable, _) in DRIVERS.items():
        value = environment.get(variable) or "c"
        if value not in ("c", "rust", "both"):
            raise Mistake(f"{variable}={value}: it takes c, rust or both")
        if value == "rust":
            rust.append(module)
        elif value == "both":
            both.append(module)
    return [tuple(rust), *((*rust, module) for module in both)]


def with_drivers(test, rust):
    """The test with these modules in Rust, which have no weak spots of C. Of "W1/Y2" one is enough:
    each of the drivers can help itself."""
    letters = {DRIVERS[module][1] for module in rust}
    if test.xfail and any(spot[0] in letters for spot in test.xfail[0].split("/")):
        # It has a guest of its own because C does not survive it.
        test = dataclasses.replace(test, xfail=(), own=False)
    return dataclasses.replace(test, rust=rust)


def mixtures(test, soak):
    """The sets of drivers that a test runs with: all in Rust, so that tests share boots. Smoke tests on
    fewer processors than they can have show that a driver works beside the others in C. A soak takes
    every mixture, and C, which is the oracle."""
    everything = tuple(DRIVERS) if test.about else ()
    if soak:
        return dict.fromkeys((everything, test.about, ()))
    return [test.about if test.smoke and not test.most else everything]


def is_everything(environment):
    """Whether the user chose nothing: the set that runs every time."""
    return not any(environment.get(name, "") for name in ("SUITE", "TEST", "VCPUS", "KCONFIG")) and (
        environment.get("SOAK", "") in ("", "0")
    )


def bench(tests, environment):
    """The tests whose figures repeat, with all drivers in C and with all there are in Rust."""
    sides = [{variable: side for variable, _ in DRIVERS.values()} for side in ("c", "rust")]
    return [test for side in sides for test in choose(tests, {**environment, **side, "ICOUNT": "1"})]


def choose(tests, environment):
    """The tests for SUITE=, TEST= (patterns such as "rescind*", with or without the suite),
    VCPUS=, KCONFIG=, SOAK= and ICOUNT=.

    On the debug kernel run all of them with SOAK=1 or KCONFIG=debug, and the smoke tests if
    nothing is chosen; on the preemptible one and that with checked calls the smoke tests with
    SOAK=1, and all that is chosen with KCONFIG=rt or cfi. If nothing is chosen, a test runs on the
    largest of its numbers of processors only, a smoke test on each. SOAK=1 also makes those longer
    whose header has a number for it.
    """
    words = {
        name: environment.get(name, "").replace(",", " ").split() for name in ("SUITE", "TEST", "VCPUS", "KCONFIG")
    }
    if unknown := set(words["KCONFIG"]) - KERNELS.keys():
        raise Mistake(f"KCONFIG={' '.join(unknown)}: guests run on {' or '.join(KERNELS)}")
    soak, icount = (environment.get(name, "") not in ("", "0") for name in ("SOAK", "ICOUNT"))
    everything = is_everything(environment)

    def on_kernel(test):
        if words["KCONFIG"]:
            return test.kconfig in words["KCONFIG"]
        if test.kconfig in SMOKE_ONLY:
            return soak and test.smoke
        # Twice on two processors would cost too much for what runs every time.
        return test.kconfig == "fast" or soak or (everything and test.smoke and test.vcpus == 1)

    def wanted(test):
        suite, _, name = test.name.partition("/")
        return (
            (not words["SUITE"] or suite in words["SUITE"])
            and (not words["TEST"] or any(fnmatch.fnmatch(n, p) for p in words["TEST"] for n in (name, test.name)))
            and (str(test.vcpus) in words["VCPUS"] if words["VCPUS"] else not test.asked)
            and test.icount == icount
            and (test.most or test.smoke or not everything)
            and on_kernel(test)
            and (soak or words["TEST"] or not test.rare)
        )

    candidates = [test for test in tests if wanted(test)]
    if any(environment.get(variable) for variable, _ in DRIVERS.values()):
        first, *others = driver_sets(environment)
        chosen = [with_drivers(test, first) for test in candidates]
        # "both": all tests with C, and those about the driver in Rust with that.
        chosen += [with_drivers(test, rust) for rust in others for test in candidates if rust[-1] in test.about]
    else:
        chosen = [with_drivers(test, rust) for test in candidates for rust in mixtures(test, soak)]
    if not chosen:
        known = sorted({test.name for test in tests if test.icount == icount})
        raise Mistake("no test fits SUITE= TEST= VCPUS= KCONFIG=; there are " + " ".join(known))
    if icount:
        return [dataclasses.replace(test, round=number) for test in chosen for number in (1, 2)]
    if soak:
        return [dataclasses.replace(test, times=test.soak, timeout=test.timeout * test.soak) for test in chosen]
    return chosen


def group(tests):
    """Lists of tests that share a boot, what takes long first.

    Each one on the debug kernel ends with a search for memory that leaked in it.
    """
    shared = {}
    for test in tests:
        shared.setdefault(test.boot(), []).append(test)
    boots = []
    for members in shared.values():
        seconds = 0
        for number, test in enumerate(members):
            seconds += test.timeout
            if number == 0 or len(boots[-1]) == TOGETHER or seconds > LONGEST * KERNELS[test.kconfig]:
                boots.append([])
                seconds = test.timeout
            boots[-1].append(test)
    for number, members in enumerate((boot for boot in boots if boot[0].kconfig == "debug"), 1):
        members.append(dataclasses.replace(
            members[0], name=f"kmemleak-{number}", file="kmemleak.sh", argument="", timeout=180, tools=(),
            xfail=(), must_fail="", smoke=False, times=1,
        ))  # fmt: skip
    return sorted(boots, key=lambda members: -sum(test.timeout for test in members))


def only_leaks(tests):
    """Whether nothing but the search for leaks is left of a boot: not worth another one."""
    return [test.file for test in tests] == ["kmemleak.sh"]
