"""How processes of the package's own are started."""

from __future__ import annotations

import multiprocessing
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
        ["__main__", "gennas_optuna.evaluator", "gennas_optuna.workers"]
    )
    return context
