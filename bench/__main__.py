"""`make bench`: the figures of docs/quota.md that need no hour."""

import sys

from bench import commands, reservation

if __name__ == "__main__":
    print("## Keeping calls free for the batch (8 simulated hours)\n")
    sys.argv[1:] = ["--hours", "8"]
    reservation.main()
    print("\n## Redis commands per granted call\n")
    sys.argv[1:] = ["--workers", "2", "8", "--window", "2", "--seconds", "20"]
    commands.main()
