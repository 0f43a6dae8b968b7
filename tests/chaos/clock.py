"""A Valkey whose clock can be set: a few lines of C between it and the C library.

Linux with a C compiler only; `why_not` says what lacks elsewhere."""

import mmap
import shutil
import struct
import subprocess
import sys
from dataclasses import replace

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
    if (clock == CLOCK_REALTIME) now->tv_sec += *step_s;
    return result;
}
"""


def why_not() -> str | None:
    """What keeps clocks from being set here; None: nothing does."""
    if sys.platform != "linux":
        return "the clock of a process can be set on Linux only"
    return None if shutil.which("cc") else "no C compiler (cc) is installed"


class SettableValkey(ValkeyServer):
    """A Valkey with `step`; one with the right clock where that cannot be had."""

    settable = why_not() is None

    def prepare(self) -> None:
        super().prepare()
        self._file, library = self.data_dir / "clock.step", self.data_dir / "clock.so"
        if not self.settable or library.exists():
            return
        self._file.write_bytes(struct.pack("q", 0))
        command = ["cc", "-shared", "-fPIC", "-O1", "-xc", "-", "-o", str(library), "-ldl"]
        subprocess.run(command, input=_SOURCE, text=True, check=True)

    def command(self) -> Command:
        command = super().command()
        if not self.settable:
            return command
        shim = {
            "LD_PRELOAD": str(self.data_dir / "clock.so"),
            "CLOCK_STEP_FILE": str(self._file),
        }
        return replace(command, env={**command.env, **shim})

    def step(self, seconds: int) -> None:
        """Sets the server's clock that far ahead of the right time, from now on."""
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as memory:
            memory[:] = struct.pack("q", seconds)
