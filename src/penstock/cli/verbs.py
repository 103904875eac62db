"""What can be typed: every verb, its arguments and options, and where its code is (``lazy``).

A verb's function has the name and the parameters that are declared here, behind the settings.
"""

from typing import Final

import asyncclick as click

from .agent_verb import AGENT
from .arguments import (
    ALLOW_GAPS,
    MAX_OFFSET,
    PASS_ON,
    RECONNECT,
    SINCE,
    TEXT,
    PassThrough,
    PassThroughIfAsked,
    PassThroughIfAttached,
    SignalFirst,
)
from .certs_group import CERTS
from .context_group import CONTEXT
from .grant_verbs import CAN, COMMANDS, WHOAMI
from .help_verbs import COMPLETION, HELP, SCHEMA
from .list_options import COMMAND, FILTER, LABELLED, MOST, NAMED, STARTED_SINCE, STATE
from .live_verbs import INTERVAL, TOP, WATCH
from .start_options import ENV, LABEL, NAME, TIMEOUT
from .verb_forms import argument, option, verb

_PID: Final = argument("pid")
_PIDS: Final = argument("pids", metavar="PID...", nargs=-1, required=True)
_ALLOW_GAPS: Final = option("--allow-gaps", **ALLOW_GAPS)
_RECONNECT: Final = option("--reconnect", **RECONNECT)
_COMMAND: Final = (argument("command"), argument("arguments", nargs=-1))

_STARTS: Final = (
    option("--timeout", "timeout_s", **TIMEOUT),
    option("-e", "--env", **ENV),
    option("--name", "job_name", **NAME),
    option("--label", "labels", **LABEL),
)

START: Final = verb(
    "starting.start",
    """Starts COMMAND, with everything behind it as its arguments.

    ^C before the server has answered waits a moment for the answer; a second one does not.
    """,
    option("--stdin", is_flag=True, help="Open its standard input, for send."),
    *_STARTS,
    option("-q", "--quiet", is_flag=True, help="Print the job's PID alone."),
    option("-d", "--detach", is_flag=True, help="What start does anyway."),
    *_COMMAND,
    context_settings=PASS_ON,
    example="""
    penstock start --timeout 1h --name nightly --label team=db backup /srv
    pid=$(penstock start -q backup /srv)
    """,
)
RUN: Final = verb(
    "running.run",
    """Starts COMMAND, prints what it prints, and exits as it does.

    The first ^C, TERM, HUP or QUIT asks the job to stop, a second one detaches.
    """,
    option("--raw", is_flag=True, help="Exact bytes on a terminal, too."),
    option("-i", "--stdin", is_flag=True, help="Pass our standard input on to the job."),
    *_STARTS,
    option("-d", "--detach", is_flag=True, help="Start it and leave, as start does."),
    option("-q", "--quiet", is_flag=True, help="With --detach: print the job's PID alone."),
    _ALLOW_GAPS,
    _RECONNECT,
    *_COMMAND,
    context_settings=PASS_ON,
    cls=PassThroughIfAttached,
    example="""
    penstock run ls -la /srv
    tar c . | penstock run -i unpack
    """,
)
STOP: Final = verb(
    "control.stop",
    """Ends each job PID with its whole process tree; answers when nothing of it is left.

    PID is a job's PID or name here and in every verb. All are stopped at the same time; the exit
    status is that of the first that could not be.
    """,
    _PIDS,
    option("--grace", type=float, metavar="SECONDS", help="Between TERM and KILL."),
    option("--reason", default="", type=TEXT, help="Kept in the end record."),
    option("--signal", default="", type=TEXT, help="The first one; the command's own without."),
    option("--no-wait", is_flag=True, help="Leave when the stop is under way."),
    example="""
    penstock stop 48213
    penstock stop --grace 30 --reason 'new release' 48213 web-1
    """,
)
SIGNAL: Final = verb(
    "control.signal",
    "Sends SIGNAL (TERM, SIGTERM, 15) to job PID's main process.",
    _PID,
    argument("signal"),
    option("--tree", is_flag=True, help="To every process of the job."),
    example="penstock signal 48213 HUP",
)
KILL: Final = verb(
    "killing.kill",
    """Sends a signal to the main process of each job PID: TERM, or what -s or -SIGNAL says.

    As signal, with the form of kill(1). To end a job with its whole tree, use stop.
    """,
    _PIDS,
    option("-s", "--signal", default="TERM", type=TEXT, help="HUP, SIGHUP or 1; also -HUP, -1."),
    option("--tree", is_flag=True, help="To every process of each job."),
    cls=SignalFirst,
    example="""
    penstock kill 48213
    penstock kill -HUP 48213 48214
    """,
)
PAUSE: Final = verb(
    "control.pause",
    "Makes every process of job PID stand still; answers when they do.",
    _PID,
    example="penstock pause 48213",
)
RESUME: Final = verb(
    "control.resume",
    "Lets a paused job PID run on.",
    _PID,
    example="penstock resume 48213",
)
SEND: Final = verb(
    "sending.send",
    """Sends our standard input to job PID, which was started with --stdin, and its end.

    It begins after what the job was sent before. Answers when all of it is accepted.
    """,
    _PID,
    option("--keep-open", is_flag=True, help="The job's input does not end with ours."),
    _RECONNECT,
    example="echo quit | penstock send 48213",
)
STATUS: Final = verb(
    "control.status",
    "Says what each job PID is doing and what it uses.",
    _PIDS,
    option("-w", "--watch", is_flag=True, help="Again and again, until all of them have ended."),
    INTERVAL,
    example="""
    penstock status 48213
    penstock status --watch 48213
    penstock -o json status 48213
    """,
)
LIST: Final = verb(
    "job_list.list_jobs",
    """Lists your own jobs, newest first, a job a line.

    Of several filters all must match; of several states one. On a terminal a line ends at its
    edge; in a file or a pipe all of it is there.
    """,
    option("-a", "--all", "include_finished", is_flag=True, help="Finished jobs too."),
    option("-n", "--last", "most", **MOST),
    option("-q", "--quiet", is_flag=True, help="PIDs alone."),
    option("--no-trunc", is_flag=True, help="Whole commands on a terminal, too."),
    option("--state", "states", **STATE),
    option("--command", "of_command", **COMMAND),
    option("--name", "named", **NAMED),
    option("--label", "labels", **LABELLED),
    option("--since", "since_ns", **STARTED_SINCE),
    option("-f", "--filter", "filters", **FILTER),
    example="""
    penstock list --all -n 20
    penstock list --state finished --label team=db --since 1d
    penstock list -q --command backup | xargs -r penstock stop
    """,
)
RM: Final = verb(
    "control.rm",
    """Forgets finished jobs and their output, now instead of after the server's time.

    One that cannot be removed keeps no other from it; the exit status is the first one's.
    """,
    _PIDS,
    example="penstock rm 48213 48214",
)
VERSION: Final = verb(
    "version.version",
    "Says which version this is, and what the server is and can enforce.",
    hosted=False,
    example="penstock version",
)
STREAM: Final = verb(
    "stream.stream",
    "Prints job PID's output from the first byte, then live, until the job has ended.",
    _PID,
    option("--raw", is_flag=True, help="Exact bytes, stdout and stderr apart, nothing else."),
    option("--offset", type=click.IntRange(0, MAX_OFFSET), help="First byte wanted."),
    option(
        "--tail",
        type=click.IntRange(0, MAX_OFFSET),
        metavar="N",
        help="Begin with the last N lines; 0: what is new.",
    ),
    option("--since", type=SINCE, metavar="TIME", help="Begin there: 5m, 2026-11-23T11:21:38Z."),
    option("--stdout", "only_out", is_flag=True, help="The job's standard output alone."),
    option("--stderr", "only_err", is_flag=True, help="The job's standard error alone."),
    option("--no-follow", is_flag=True, help="End at what is there now."),
    option("-q", "--quiet", is_flag=True, help="The output alone: no lines around it."),
    option("--no-timestamps", is_flag=True, help="Lines alone."),
    option("--exit-code", is_flag=True, help="Exit as the job did."),
    _ALLOW_GAPS,
    _RECONNECT,
    cls=PassThroughIfAsked,
    example="""
    penstock stream --tail 20 48213
    penstock stream --raw 48213 > output
    """,
)
ATTACH: Final = verb(
    "attaching.attach",
    """Follows job PID from now on as if it had been started here, and exits as it does.

    Its stdout and stderr are ours. ^C leaves the job alone and says how to go on.
    """,
    _PID,
    option("-i", "--stdin", is_flag=True, help="Pass our standard input on to the job."),
    option("--raw", is_flag=True, help="Exact bytes on a terminal, too."),
    _ALLOW_GAPS,
    _RECONNECT,
    cls=PassThrough,
    example="""
    penstock attach 48213
    echo quit | penstock attach -i 48213
    """,
)
WAIT: Final = verb(
    "stream.wait",
    """Waits until each job PID has ended, and exits as it did.

    Of several jobs it is the first status, in the order named, that is not 0.
    """,
    _PIDS,
    _RECONNECT,
    cls=PassThrough,
    example="penstock wait 48213 && echo done",
)
VERBS: Final[dict[str, click.Command]] = {
    "start": START,
    "stop": STOP,
    "signal": SIGNAL,
    "kill": KILL,
    "pause": PAUSE,
    "resume": RESUME,
    "send": SEND,
    "status": STATUS,
    "list": LIST,
    "ps": LIST,
    "rm": RM,
    "version": VERSION,
    "stream": STREAM,
    "logs": STREAM,
    "run": RUN,
    "attach": ATTACH,
    "wait": WAIT,
    "whoami": WHOAMI,
    "commands": COMMANDS,
    "can": CAN,
    "context": CONTEXT,
    "agent": AGENT,
    "watch": WATCH,
    "top": TOP,
    "certs": CERTS,
    "completion": COMPLETION,
    "help": HELP,
    "schema": SCHEMA,
}
"""In the order of ``penstock --help``."""
ALIASES: Final = frozenset({"ps", "logs"})
"""Those that are not listed there."""
