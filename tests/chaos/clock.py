"""Processes whose clock can be set: a few lines of C between them and the C library.

Linux with a C compiler only; `why_not` says what lacks elsewhere."""

import mmap
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from local.servers.process import Command
from local.servers.valkey import ValkeyServer

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *step_s;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CLOCK_STEP_FILE"), O_RDONLY);
    step_s = mmap(0, sizeof *step_s, PROT_READ, MAP_SHARED, file, 0);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    now->tv_sec += *step_s;
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_BOOTTIME)
        now->tv_sec += *step_s;
    return result;
}

time_t time(time_t *now) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME_COARSE, &at);
    if (now) *now = at.tv_sec;
    return at.tv_sec;
}
"""


def why_not() -> str | None:
    """What keeps clocks from being set here; None: nothing does."""
    if sys.platform != "linux":
        return "the clock of a process can be set on Linux only"
    return None if shutil.which("cc") else "no C compiler (cc) is installed"


class Clock:
    """The wall clock of every process that is started with `env`; durations stay right."""

    def __init__(self, folder: Path) -> None:
        """`folder` is kept, and read by the processes. Raises where `why_not` tells a reason."""
        self._file, self._library = folder / "clock.step", folder / "clock.so"
        if not self._library.exists():
            self._file.write_bytes(struct.pack("q", 0))
            command = ["cc", "-shared", "-fPIC", "-O1", "-xc", "-", "-o", str(self._library)]
            subprocess.run([*command, "-ldl"], input=_SOURCE, text=True, check=True)

    @property
    def env(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_STEP_FILE": str(self._file)}

    @property
    def ahead_s(self) -> int:
        """How far ahead of the right time it is."""
        return int(struct.unpack("q", self._file.read_bytes())[0])

    def step(self, seconds: int) -> None:
        """Set the clock that far ahead of the right time, from now on."""
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as memory:
            memory[:] = struct.pack("q", seconds)


class SettableValkey(ValkeyServer):
    """A Valkey with `step`; one with the right clock where that cannot be had."""

    settable = why_not() is None

    def prepare(self) -> None:
        super().prepare()
        if self.settable:
            self._clock = Clock(self.data_dir)

    def command(self) -> Command:
        command = super().command()
        return (
            replace(command, env={**command.env, **self._clock.env}) if self.settable else command
        )

    def step(self, seconds: int) -> None:
        """Set the server's clock that far ahead of the right time, from now on."""
        self._clock.step(seconds)
