"""How processes of the package's own are started, and end at Ctrl-C."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext


def process_context() -> ForkServerContext | SpawnContext:
    """Where the system can, processes are forked from one that has imported the package.

    That process is clean: it has no threads, devices or files of the caller. A new worker then
    starts at once; importing PyTorch and the package takes as long as scoring an architecture.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["__main__", "gennas_optuna.evaluator", "gennas_optuna.workers", _READY]
    )
    # Ctrl-C reaches all processes of a terminal; in its imports this one would end with a
    # traceback, so that it is to have the signal blocked until then.
    resource_tracker.ensure_running()  # by itself, since it changes what is blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


_READY = "gennas_optuna._fork_server"


def end_silently() -> None:
    """Have a worker process end at Ctrl-C at once: what there is to say the main one says."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
