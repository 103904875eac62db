"""CommandService: the gRPC face of one Manager, put together from its calls.

Theory of operation. Every call goes one way, and each step has its place:

1. *client*: the certificate's id is a client of the policy (authn.py, then decision.may_call);
2. *verb*: the policy grants the method's verb to that client (its row in methods.py);
3. *size*: the row's limits hold for the message. Up to here a call is judged by its headers and
   its length, before anything of it is kept (``Access.admit``; rpc judges the size), and the
   handler begins with client and verb once more, because it needs the policy's entry;
4. *form*: the fields are what they must be, whatever any policy says (parse.py);
5. *policy*: the job is the caller's own, the quota has room, the command line or the signal is
   granted (AskedCall in access.py; decision.may_start and may_signal);
6. *audit*: the decision is a line (decision_lines.py), a refusal at whichever step it fell;
7. *act*: the one thing that the handler is for, which the library does (jobs/).

The client comes first so that a stranger learns nothing else. The form comes before the policy so
that a mistake is reported as one, and the line before the act so that no act is without its line.

From the policy's step to the act there is no checkpoint. At one, another call could take the last
place of a quota, remove the job, or begin a stop, and the decision would rest on a state that is
gone. So what may take long is done before the decision and depends on the request alone (a long
command line is matched in slices, the first message of input is awaited), or after it, where the
act is under way and cancelling the call does not end it. Cancelling a call never ends a job
(docs/cancellation.md).
"""

from collections.abc import Callable

from ..jobs.manager import Manager
from ..proto.command_grpc import CommandServiceServicer
from ..rpc.lag import Lag
from .access import Access
from .audit import AuditLog
from .decision_lines import DecisionLines
from .generation import InForce
from .rate_limits import Quotas
from .refusal_budget import RefusalBudget
from .repeat_budget import RepeatBudget
from .service_control import ControlCalls
from .service_info import HostInfo, InfoCalls
from .service_input import InputCalls
from .service_read import ReadCalls
from .service_start import StartCalls
from .service_watch import WatchCalls
from .service_whoami import WhoAmICalls


class CommandService(CommandServiceServicer):  # type: ignore[misc]  # purerpc is untyped
    """All calls of the service; they share what is in force and the quotas, and nothing else."""

    def __init__(
        self,
        manager: Manager,
        in_force: InForce,
        audit: AuditLog,
        host: HostInfo,
        clock: Callable[[], float],
        refusals: RefusalBudget | None = None,
        repeats: RepeatBudget | None = None,
        lag: Callable[[], Lag] = Lag,
    ) -> None:
        """``clock`` gives monotonic seconds, for the quotas; ServerInfo reports ``host`` and
        ``lag``, which it asks each time; for the budgets see DecisionLines."""
        self.access = Access(
            manager, in_force, Quotas(clock), DecisionLines(audit, refusals, repeats)
        )
        self.admit = self.access.admit
        self.starts = StartCalls(self.access, host.userless)
        self.info = InfoCalls(self.access, host, lag)
        reads, controls = ReadCalls(self.access), ControlCalls(self.access)
        # Named as in the schema, because purerpc looks its methods up by these names.
        self.Start = self.starts.Start
        self.Stop = controls.Stop
        self.Status = reads.Status
        self.StreamOutput = reads.StreamOutput
        self.List = reads.List
        self.Wait = reads.Wait
        self.Signal = controls.Signal
        self.Pause = controls.Pause
        self.Resume = controls.Resume
        self.SendInput = InputCalls(self.access).SendInput
        self.Remove = controls.Remove
        self.Watch = WatchCalls(self.access).Watch
        self.ServerInfo = self.info.ServerInfo
        self.WhoAmI = WhoAmICalls(self.access).WhoAmI

    def use_host(self, host: HostInfo) -> None:
        """What the supervisor says of the machine from now on. No checkpoint."""
        self.info.host, self.starts.userless = host, host.userless
