"""`daemon.py MARKER [clean]`: leaves a daemon behind as they are made: two forks, a session of its own, nothing open,
deaf to every signal that can be ignored, and with `clean` an empty environment. Ends when the daemon is up."""

import os
import signal
import sys

DAEMON = "import os, signal; os.write(9, b'up'); os.closerange(0, 64)\nwhile True: signal.pause()"

reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(writing, 9)
        env = {} if "clean" in sys.argv else dict(os.environ)
        os.execve(sys.executable, [sys.executable, "-S", "-c", DAEMON, sys.argv[1]], env)
    os._exit(0)
os.close(writing)
os.read(reading, 2)
