"""The errors a user can meet, each with the exit code of the command line it leads to."""

from __future__ import annotations


class SpeechUnitsError(Exception):
    """Base of every error whose message is meant for the user: value, likely cause, remedy."""

    exit_code = 1


class InputRefused(SpeechUnitsError):
    """One input (a recording, a row) cannot be used; the others can. Exit code 1."""

    exit_code = 1


class ModelRefused(InputRefused):
    """A model that was named (a bundle, an encoder of others, a language model) cannot be used. Exit code 2.

    On the command line nothing is done without it; who has asked for it can go on, as without any other input.
    """

    exit_code = 2


class UsageError(SpeechUnitsError):
    """The command or its configuration is wrong; nothing was started. Exit code 2."""

    exit_code = 2


class TrainingStopped(SpeechUnitsError):
    """Training cannot go on (collapse, NaN, full disk); a checkpoint is kept. Exit code 3."""

    exit_code = 3


class Collapsed(TrainingStopped):
    """Held-out evaluations have shown a collapse: the same settings would come to the same end."""


class Interrupted(SpeechUnitsError):
    """Stopped by a signal after saving a checkpoint; the same command resumes. Exit code 128 + signal number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
