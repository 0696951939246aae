"""One training from beginning to end: resumes, runs fairseq2's Trainer, and says how it ended."""

from __future__ import annotations

import signal
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from fairseq2.gang import Gangs
from fairseq2.nn.data_parallel import get_data_parallel_facade, set_data_parallel_facade
from fairseq2.task import TaskStopException
from fairseq2.validator import NOOP_VALIDATOR
from torch import nn

from speechunits.engine import seal
from speechunits.engine.assembly import Parts, assemble, evaluation_interval, make_sampler, make_trainer
from speechunits.engine.compilation import compiled
from speechunits.engine.guard import FiniteGuard
from speechunits.engine.history import HISTORY
from speechunits.engine.journal import Journal
from speechunits.engine.machine import choose_precision, open_gangs, wrap
from speechunits.engine.seal import TRAINING
from speechunits.engine.settings import earlier_result, training_settings
from speechunits.engine.steering import signals_noted
from speechunits.engine.surroundings import machine_state
from speechunits.engine.train import TrainingResult, TrainingTask
from speechunits.errors import Collapsed, Interrupted
from speechunits.learners.learner import Learner
from speechunits.run import write_json

_FEW_STEPS = 270
"""Every learner has been seen to leave chance within 270 (LOG, 2026-11-23)."""


def run_training(learner: Learner, task: TrainingTask) -> TrainingResult:
    """See :func:`speechunits.engine.train.train`."""
    journal = Journal()
    with machine_state(task.engine.threads), signals_noted(journal), ExitStack() as stack:
        gangs = open_gangs(task.engine)
        stack.enter_context(choose_precision(task.engine, gangs.device).products(gangs.device))
        sampler = make_sampler(learner, task, gangs)
        resumed = _newest_checkpoint(task, gangs)
        settings = training_settings(learner, task, gangs)
        done = earlier_result(task, settings, resumed)
        stack.enter_context(compiled(learner, task.engine, gangs.device))
        model = wrap(learner, gangs, resuming=resumed is not None)
        parts = assemble(learner, model, task, gangs, journal, sampler, resumed, stack)
        guard = FiniteGuard(get_data_parallel_facade(model), learner, journal, parts.unit, gangs.dp)
        set_data_parallel_facade(model, guard)
        stack.callback(_forget_facade, model)
        if resumed is not None and (resumed >= parts.total_steps or (done and done["stopped"])):
            parts.checkpoints.load_model_state(resumed, guard)
            parts.checkpoints.load_data_reader_state(resumed, parts.reader)
            journal.stopped = None if done is None else done["stopped"]
            if done is None:
                _evaluate(parts, guard, resumed)  # Killed between the last checkpoint and the last evaluation.
            else:
                journal.held_out = done["held_out"]
        else:
            if gangs.root.rank == 0:
                write_json(task.folder / TRAINING, {"settings": settings, "result": None})
            if resumed is not None:
                _make_up_evaluation(task, parts, guard, resumed)
            if journal.collapse is None and journal.stopped is None:
                trainer = make_trainer(learner, model, task, parts, guard)
                parts.steering.take(trainer)
                stack.callback(parts.steering.release)
                with suppress(TaskStopException):  # how it says that it was asked to stop
                    trainer.run()
                guard.verdicts.settle()
        if parts.best is not None:
            parts.best.apply()
        learner.eval()
        return _conclude(task, parts, settings, done)


def _evaluate(parts: Parts, guard: FiniteGuard, step: int) -> None:
    if parts.validator is not NOOP_VALIDATOR:
        with guard.summon_full_parameters():
            parts.validator.run(step)


def _make_up_evaluation(task: TrainingTask, parts: Parts, guard: FiniteGuard, resumed: int) -> None:
    """Evaluate if that was due at the checkpoint: it is saved before, and what came after it may be lost.

    Else the evaluation, and what it says of a collapse, would be missing for good.
    """
    every = evaluation_interval(task.engine, parts.total_steps)
    if every is None or resumed % every:
        return
    # The Trainer will load them again; it has no moment between loading and the next step.
    parts.checkpoints.load_data_reader_state(resumed, parts.reader)
    parts.checkpoints.load_model_state(resumed, guard)
    if parts.journal.held_out_step < resumed:
        _evaluate(parts, guard, resumed)


def _forget_facade(model: nn.Module) -> None:
    """Leave no trace in the model: it may be copied, exported, or trained again."""
    for name in [name for name, value in vars(model).items() if isinstance(value, FiniteGuard)]:
        delattr(model, name)


def _newest_checkpoint(task: TrainingTask, gangs: Gangs) -> int | None:
    """Return the step to resume from, the same on all ranks."""
    found: list[object] = [seal.settle(task.folder) if gangs.root.rank == 0 else None]
    gangs.root.broadcast_objects(found)
    return found[0] if isinstance(found[0], int) else None


def _conclude(
    task: TrainingTask, parts: Parts, settings: dict[str, Any], done: dict[str, Any] | None
) -> TrainingResult:
    journal = parts.journal
    kept = seal.newest(task.folder)
    where = "nothing was kept" if kept is None else f"the checkpoint of step {kept} is kept in {task.folder}"
    reached = f"step {journal.steps} of {parts.total_steps}"
    if journal.collapse is not None:
        if parts.gangs.root.rank == 0:
            # Who looks for the encoder later is to learn why there is none.
            write_json(task.folder / TRAINING, {"settings": settings, "result": None, "collapse": journal.collapse})
        remedy = "Lower optimizer.lr, warm up longer, or change the learner's settings, under another name (name=NEW)"
        if parts.total_steps < _FEW_STEPS:
            remedy = f"{parts.total_steps} steps may be too few to leave chance: raise budget.hours first. {remedy}"
        raise Collapsed(f"{task.label}: {journal.collapse}, by {reached}; {where}. {remedy}")
    interrupted = None
    if number := parts.steering.signal_received():
        name = signal.Signals(number).name
        message = f"{task.label}: stopped by {name} after {reached}; {where}; the same command resumes"
        interrupted = Interrupted(message, number)
        if journal.steps < parts.total_steps:
            raise interrupted
    result = TrainingResult(
        steps=journal.steps, total_steps=parts.total_steps, audio_hours=journal.audio_s / 3600,
        wall_s=journal.wall_s if done is None else done["wall_s"],
        held_out=dict(journal.held_out), history=task.folder / HISTORY, stopped=journal.stopped,
        resumed_from=parts.resumed, refused=len(journal.refused), left_out=parts.sampler.left_out,
        skipped_batches=journal.skipped_batches,
    )  # fmt: skip
    if parts.gangs.root.rank == 0 and task.lasting and kept is not None:
        seal.publish_encoder(task.folder, kept)
        write_json(task.folder / TRAINING, {"settings": settings, "result": {**asdict(result), "history": HISTORY}})
    parts.gangs.root.barrier()  # When any rank returns, the files are there.
    if interrupted is not None:
        # It came with the last step: nothing else is to be begun.
        raise interrupted
    return result
