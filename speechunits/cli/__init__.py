"""The command line, ``speechunits STAGE …``: arguments here and beside, work in :mod:`speechunits.pipeline`.

Heavy imports happen inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from speechunits import __version__
from speechunits.cli import corpus, evaluation, machine, picture, recognition, report, training, units
from speechunits.errors import SpeechUnitsError

_DESCRIPTION = """Unlabelled speech into pseudo-text units, minutes of labels into a recogniser.

exit codes: 0 all done; 1 inputs refused, each named, the rest done; 2 wrong usage or configuration,
a model that cannot be used, or a file that cannot be written or read; 3 training stopped (collapse, NaN,
full disk), checkpoint kept; 130/143 interrupted, resumable."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="speechunits", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"speechunits {__version__}")
    commands = parser.add_subparsers(title="stages", metavar="STAGE", required=True)
    for stage in (corpus, training, units, evaluation, recognition, report, picture, machine):
        stage.add(commands)
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line whose ``key=value`` overrides may also stand after options."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse gives a positional of any number only the words before the next option: `run R --only data key=value`
    # would be refused.
    if rest and (not hasattr(options, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parse(arguments)
    try:
        code = int(options.run(options))
        # What cannot be written any more is to be said here: at the end of the process it would be a traceback.
        sys.stdout.flush()
        return code
    except SpeechUnitsError as error:
        print(f"speechunits: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("speechunits: interrupted; what was finished is kept, the same command goes on", file=sys.stderr)
        return 130
    except UnicodeEncodeError as error:
        shown = error.object[error.start : error.end].encode("ascii", "backslashreplace").decode()
        print(f"speechunits: {error.encoding} has no {shown}, which is to be written; PYTHONUTF8=1 before the command "
              "writes UTF-8", file=sys.stderr)  # fmt: skip
        return 2
    except BrokenPipeError:
        # The reader of our output (head, less) has left: not an error, but nothing more can be printed.
        _leave_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _say_out_of_reach(error)
        place = error.filename or "perhaps the one that standard output goes to"
        print(f"speechunits: the disk is full ({place}); free some space and run the same command again",
              file=sys.stderr)  # fmt: skip
        if error.filename is None:
            _leave_output()
        return 2


def _leave_output() -> None:
    """Let what waits for standard output go nowhere: else the end of the process would try once more to write it."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _say_out_of_reach(error: OSError) -> int:
    """Name the file that the system refused. Raises what names none: nobody could do anything about it."""
    if not isinstance(error.filename, (str, bytes)):
        raise error
    from speechunits.audio.load import printable

    place = printable(os.fsdecode(error.filename))
    print(f"speechunits: cannot write or read {place}: {error.strerror}; check the path, its permissions, and the disk "
          "it is on", file=sys.stderr)  # fmt: skip
    return 2
