"""Seeds and generators: every random draw of the package comes from one of these."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, *parts: object) -> int:
    """A 63-bit seed that depends on ``seed`` and the text of ``parts`` alone.

    It is a hash, so it is the same in every process and on every platform, and neighbouring
    seeds give unrelated streams.
    """
    text = "\x1f".join([str(int(seed)), *map(str, parts)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def torch_generator(seed: int, *parts: object) -> torch.Generator:
    """A CPU generator seeded from :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *parts))


def numpy_generator(seed: int, *parts: object) -> np.random.Generator:
    """A NumPy generator seeded from :func:`derive_seed`, for discrete choices."""
    return np.random.default_rng(derive_seed(seed, *parts))
