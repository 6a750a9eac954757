"""The command `saebook`: what it hands back to the shell, and what it says when the user or the machine stops it."""

import errno
import os
import signal
import sys

from saebook.cli import actions, arguments
from saebook.common.errors import UserError

# What the machine refuses, as opposed to what our code does wrong: one line says it.
_REFUSED = {
    errno.ENOSPC: "the disk is full: free some space and run the command again",
    errno.EDQUOT: "your quota of disk space is used up: free some and run the command again",
    errno.EROFS: "the file system is read-only: name a folder that can be written to",
    errno.EACCES: "permission denied: change its permissions, or name another folder",
    errno.EPERM: "permission denied: change its permissions, or name another folder",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
    errno.ENAMETOOLONG: "the name is too long",
}


def main(words: list[str] | None = None) -> int:
    """Run the command line. Bad input ends in one line on standard error and status 2, a failed run in status 1."""
    options = arguments.parser().parse_args(words)
    try:
        return _flushed(options.act(options))
    except BrokenPipeError:  # the reader, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        return 128 + signal.SIGPIPE
    except UserError as error:
        actions.say(str(error))
        return 2
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        actions.say(f"{error.filename}: {_REFUSED[error.errno]}" if error.filename else _REFUSED[error.errno])
        return 2
    except KeyboardInterrupt:
        actions.say("interrupted; the same command goes on from the last checkpoint")
        return 130


def _flushed(status: int) -> int:
    sys.stdout.flush()  # so that a closed pipe is met here and not while Python ends
    return status
