# SPDX-License-Identifier: GPL-2.0
"""The tests: what their header lines say, which ones were asked for, who shares a boot."""

import dataclasses
import fnmatch
import pathlib
import shlex

KEYS = {"vcpus", "timeout", "boot", "tools", "xfail-c", "breaks-with", "host", "memory", "each"}


class Mistake(Exception):
    """A test's header or the user's choice is wrong; the text says how."""


@dataclasses.dataclass(frozen=True)
class Test:
    """One test on one number of vCPUs."""

    name: str
    file: str
    vcpus: int
    argument: str
    timeout: int
    own: bool
    tools: tuple
    # The weak spot of C that makes it fail, and an expression for the failure's reason.
    xfail: tuple
    host: tuple
    memory: int

    def __str__(self):
        return f"{self.name} [{self.vcpus} vcpu{'s' if self.vcpus > 1 else ''}]"

    def boot(self):
        """Tests with the same key may share a boot."""
        return (self.vcpus, self.host, self.memory, self.name if self.own else "")


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
    for key in ("vcpus", "breaks-with"):
        if key not in found:
            raise Mistake(f"{path} has no header '# {key}:'")
    return found


def load(folder):
    tests = []
    for path in sorted(pathlib.Path(folder).glob("*/*.sh")):
        fields = header(path)
        for argument in fields.get("each", "").split() or [""]:
            name = f"{path.parent.name}/{path.stem}" + (f"-{argument}" if argument else "")
            host = fields.get("host", "").replace("{}", argument)
            try:
                for vcpus in fields["vcpus"].split():
                    tests.append(Test(
                        name=name,
                        file=str(path.relative_to(folder)),
                        vcpus=int(vcpus),
                        argument=argument,
                        timeout=int(fields.get("timeout", 60)),
                        own={"own": True, "shared": False}[fields.get("boot", "shared")],
                        tools=tuple(fields.get("tools", "").split()),
                        xfail=tuple(fields["xfail-c"].split(None, 1)) if "xfail-c" in fields else (),
                        host=tuple(shlex.split(host)),
                        memory=int(fields.get("memory", 512)),
                    ))
            except (KeyError, ValueError) as error:
                raise Mistake(f"{path}: a header has a value that is not understood: {error}") from None
    return tests


def choose(tests, environment):
    """SUITE=, TEST= (patterns such as "rescind*", with or without the suite) and VCPUS=."""
    suites = environment.get("SUITE", "").replace(",", " ").split()
    names = environment.get("TEST", "").replace(",", " ").split()
    vcpus = environment.get("VCPUS", "").replace(",", " ").split()

    def wanted(test):
        suite, _, name = test.name.partition("/")
        return (
            (not suites or suite in suites)
            and (not names or any(fnmatch.fnmatch(n, p) for p in names for n in (name, test.name)))
            and (not vcpus or str(test.vcpus) in vcpus)
        )

    chosen = [test for test in tests if wanted(test)]
    if not chosen:
        known = sorted({test.name for test in tests})
        raise Mistake("no test fits SUITE= TEST= VCPUS=; there are " + " ".join(known))
    return chosen


def group(tests):
    """Lists of tests that share a boot, one number of vCPUs after the other."""
    boots = {}
    for test in tests:
        boots.setdefault(test.boot(), []).append(test)
    return sorted(boots.values(), key=lambda tests: (tests[0].vcpus, tests[0].own))
