"""espeak-ng as a function: the same words, voice and settings give the same samples, whatever was spoken before.

The library keeps state between utterances, reseeding its noise does not reset all of it, and it seeds that noise by the
clock. So it is initialised once, and every utterance is spoken by a child forked from that process, which itself never
speaks; the child seeds the noise with a constant.
"""

from __future__ import annotations

import ctypes
import json
import os
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechunits.errors import UsageError

# The asynchronous modes would hand the text to a thread, which a forked child does not have.
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _IPA, _DO_NOT_EXIT = 0x1, 0x2, 0x8000
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7
_STRESS = "ˈˌ"
_NOISE_SEED = 1


class Speech(NamedTuple):
    """An utterance as spoken."""

    samples: npt.NDArray[np.int16]
    """``(T,)`` at the engine's rate."""
    phones: list[tuple[int, str]]
    """Start in samples and IPA label, without stress marks; an empty label is a pause."""
    words: list[tuple[int, str]]
    """Start in samples and spelling, as espeak-ng announces them: a little before the first phone."""


class Voice(NamedTuple):
    """How something is to be said."""

    name: str
    """Language and variant, ``es+f3``."""
    words_per_minute: int
    pitch: int
    """0 to 100; 50 is the variant's own."""
    pitch_range: int
    """0 (monotone) to 100."""


class _Identifier(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position_ms", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("identifier", _Identifier),
    ]  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class SpeechEngine:
    """An initialised espeak-ng. Use it in a process with a single thread: it forks.

    The rules of ``language`` are read once here, rather than by every child; other languages can be spoken too.

    Raises
    ------
    UsageError
        If espeakng-loader is not installed or the library does not start.
    """

    def __init__(self, language: str = "es") -> None:
        loader = find_loader()
        self._library = ctypes.CDLL(loader.get_library_path())
        options = _PHONEME_EVENTS | _IPA | _DO_NOT_EXIT
        self.rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), options)
        if self.rate_hz <= 0:
            raise UsageError("espeak-ng did not start; reinstall it: pip install --force-reinstall espeakng-loader")
        self._library.espeak_SetVoiceByName(language.encode())

    def speak(self, text: str, voice: Voice) -> Speech:
        """Return the utterance and its alignment.

        Raises
        ------
        UsageError
            If espeak-ng has no such voice or says nothing.
        """
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # Whatever happens, the child must not return into its parent's code.
            with suppress(BaseException):
                os.close(reader)
                with os.fdopen(writer, "wb") as pipe:
                    speech = self._speak(text, voice)
                    pipe.write(json.dumps([speech.phones, speech.words]).encode() + b"\n" + speech.samples.tobytes())
                os._exit(0)
            os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(child, 0)
        header, _, body = data.partition(b"\n")
        if status != 0 or not body:
            raise UsageError(
                f"espeak-ng could not speak {text!r} with the voice {voice.name!r}; is the language one of espeak-ng's?"
            )
        phones, words = ([(start, label) for start, label in rows] for rows in json.loads(header))
        return Speech(np.frombuffer(body, np.int16), phones, words)

    def _speak(self, text: str, voice: Voice) -> Speech:
        chunks: list[npt.NDArray[np.int16]] = []
        phones: list[tuple[int, str]] = []
        words: list[tuple[int, str]] = []

        def receive(samples: Any, count: int, events: Any) -> int:
            if samples and count > 0:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            index = 0
            while events[index].type != _END_OF_LIST:
                if events[index].type == _PHONEME:
                    label = events[index].identifier.string.decode("utf-8", "ignore")
                    phones.append((events[index].sample, label.strip(_STRESS)))
                elif events[index].type == _WORD:
                    first = events[index].text_position - 1
                    words.append((events[index].sample, text[first : first + events[index].length]))
                index += 1
            return 0

        callback = _Callback(receive)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))
        self._library.espeak_SetSynthCallback(callback)
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            return Speech(np.zeros(0, np.int16), [], [])
        for parameter, value in ((_RATE, voice.words_per_minute), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return Speech(np.concatenate(chunks) if chunks else np.zeros(0, np.int16), phones, words)


def find_loader() -> Any:
    """Return the module that finds espeak-ng.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import espeakng_loader  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise UsageError(
            "synthesis needs espeak-ng, which is not installed; run: pip install 'speechunits[synthetic]' "
            "(or pip install espeakng-loader)"
        ) from error
    return espeakng_loader
