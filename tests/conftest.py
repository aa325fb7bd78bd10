"""What all tests need."""

import signal

# A shell starts what goes to the background with Ctrl-C ignored, and so would every program be that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
