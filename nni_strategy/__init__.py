"""GenNAS under NNI: trial, tuner, search spaces and export; evaluator and strategy for NAS.

Importing this package imports nothing of NNI: its dispatcher has ten seconds to start.
"""

from importlib.util import find_spec

if find_spec("nni") is None:
    raise ImportError('nni_strategy needs NNI: pip install "gennas-optuna[nni]"')
