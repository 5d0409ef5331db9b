"""The last import of the process that workers are forked from: from here on Ctrl-C reaches it.

Where it was pressed during the imports, there is no one left to work for, and it ends here,
without the traceback that it would have had there.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, signal.default_int_handler)
